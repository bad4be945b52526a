"""What every command shares: flags, exit codes, progress lines, signals, seed and the quiet import
of TensorFlow.

TensorFlow is imported only inside the functions that need it, so that commands without it start at
once.
"""

import errno
import os
import pathlib
import re
import signal
import sys
import traceback

from absl import flags

from ccssl_tf.runs.errors import CcsslError, FlagError, InputError, Interrupted, ResourceError

SEED = flags.DEFINE_integer(
    "seed", 0, "Seed of everything random.", lower_bound=0, upper_bound=2**31 - 1
)
DRY_RUN = flags.DEFINE_bool(
    "dry_run",
    False,
    "Check the flags and inputs, print what would be read, written and spent, and stop.",
)

_NO_RESOURCE = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EIO,
    }
)
_BAD_PATH = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}
)
# Type of a TensorFlow error, part of its message, what to report, exit code.
_TENSORFLOW_ERRORS = (
    (
        "ResourceExhaustedError",
        "",
        "out of memory or disk: {}; use a smaller --batch_size or free space",
        4,
    ),
    ("OutOfRangeError", "File too large", "{}; allow larger files (ulimit -f)", 4),
    ("PermissionDeniedError", "", "{}", 4),
    ("DataLossError", "", "damaged records: {}; convert the data again", 3),
    ("UnavailableError", "", "a peer went away: {}; start all workers again to continue", 75),
    ("AbortedError", "", "a peer went away: {}; start all workers again to continue", 75),
    ("CancelledError", "", "a peer went away: {}; start all workers again to continue", 75),
    (
        "DeadlineExceededError",
        "",
        "a peer does not answer: {}; start all workers again to continue",
        75,
    ),
)


def launch(main, description: str):
    """Parses the command line, runs `main()` and exits with the documented code (see
    `ccssl_tf.runs.errors`).

    Args:
      main: called without arguments after the flags are parsed.
      description: first lines of `--help`.
    """
    # Long loops replace this by `stop_on_signal`; here it covers what comes before and after them.
    # As Ctrl-C: no Exception, which a place that is prepared for anyone's errors would take for one
    # of these.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if "TF_CONFIG" not in os.environ:
        sys.exit(run_command(main, description, sys.argv))
    try:
        code = run_command(main, description, sys.argv)
    except Exception:
        traceback.print_exc()
        code = 1
    if code:
        # A worker that says goodbye is not missed: the others would wait for it forever.
        sys.stdout.flush()
        os._exit(code)


def run_command(main, description: str, argv: list[str]) -> int:
    """Like `launch`, but returns the exit code."""
    try:
        if any(argument in ("--help", "-help", "-h", "--helpfull") for argument in argv[1:]):
            print(_help(description, argv[0]))
            return 0
        _parse(argv)
        main()
        return 0
    except flags.Error as error:
        return _report(str(error), FlagError.exit_code)
    except CcsslError as error:
        return _report(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _report(
            "interrupted; the same command continues where it stopped", Interrupted.exit_code
        )
    except MemoryError:
        return _report(
            "out of memory: use a smaller --batch_size or fewer processes", ResourceError.exit_code
        )
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # The reader of the output has gone; say no more.
        return Interrupted.exit_code
    except OSError as error:
        if error.errno not in _NO_RESOURCE | _BAD_PATH:
            raise
        code = (ResourceError if error.errno in _NO_RESOURCE else InputError).exit_code
        return _report(f"{error.filename or 'output'}: {error.strerror}", code)
    except Exception as error:
        line = _tensorflow_error(error)
        if line is None:
            raise
        return _report(*line)


def _tensorflow_error(error):
    """Maps TensorFlow's resource and data errors to (message, exit code); None for all others."""
    if not type(error).__module__.startswith("tensorflow"):
        return None
    lines = str(getattr(error, "message", error)).strip().splitlines() or ["no details"]
    for name, part, message, code in _TENSORFLOW_ERRORS:
        if type(error).__name__ == name and part in lines[0]:
            return message.format(re.sub(r"{{.*?}} ?| ?\[Op:.*", "", lines[0])[:300]), code
    return None


def _report(message: str, code: int) -> int:
    print(f"error: {' '.join(message.splitlines())}", file=sys.stderr, flush=True)
    return code


def _parse(argv):
    for argument in argv[1:]:
        # Odd bytes arrive as surrogates, which can neither be printed nor written into flags.txt.
        if argument.encode(errors="ignore").decode() != argument:
            raise FlagError(
                f"{ascii(argument)}: is not UTF-8; give the file or directory another name"
            )
    try:
        rest = flags.FLAGS(argv, known_only=False)
    except UnicodeDecodeError as error:
        raise FlagError(f"a --flagfile is not UTF-8 ({error}); save it so") from error
    if rest[1:]:
        raise FlagError(f"unexpected argument {rest[1]!r}; flags are written --name=value")
    for argument in argv[1:]:
        if argument.startswith("-") and argument.partition("=")[1:] == ("=", ""):
            raise FlagError(
                f"{argument}: the value is empty; leave the flag out or give it a value"
            )


def command_flags() -> dict[str, list[flags.Flag]]:
    """Returns the flags a user may set, by the module that defines them; the command's
    own first.
    """
    groups = {}
    for module, defined in flags.FLAGS.flags_by_module_dict().items():
        if module == sys.argv[0] or module.startswith(("ccssl_tf", "data_prep")):
            groups["this command" if module == sys.argv[0] else module] = sorted(
                defined, key=lambda flag: flag.name
            )
    return dict(sorted(groups.items(), key=lambda item: (item[0] != "this command", item[0])))


def _help(description, program):
    module = ".".join(pathlib.Path(program).with_suffix("").parts[-2:])
    lines = [
        f"usage: python -m {module} [--flagfile=FILE ...] [--flag=value ...]",
        "",
        description.strip(),
    ]
    for group, defined in command_flags().items():
        lines += ["", f"{group}:"]
        for flag in defined:
            value = "" if flag.default is None else f" (default {flag.default_as_str})"
            lines.append(f"  --{flag.name}: {flag.help}{value}")
    return "\n".join(lines)
