"""Runs a command: its errors told in one line, its exit code.

A command is a module with `COMMAND`, a `Command`, and a `main(values)`.
"""

import errno
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

from absl import flags

import ccssl_tf
from ccssl_tf.runs.command import HELP_WORDS, Command
from ccssl_tf.runs.errors import CcsslError, FlagError, InputError, Interrupted, ResourceError
from ccssl_tf.runs.printable_text import ensure_utf8_names, print_safely
from ccssl_tf.runs.progress import print_line
from ccssl_tf.runs.values import Values

_NO_RESOURCE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS}
    | {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO}
)
_BAD_PATH = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP}
)
_PEERS = "start all workers again to continue"
# Type of a TensorFlow error, what its message holds, what to report, exit code.
_TENSORFLOW_ERRORS = (
    (
        "ResourceExhaustedError",
        "No space left|quota exceeded|/dev/full",
        "the disk is full: {}; free some space",
        4,
    ),
    ("ResourceExhaustedError", "", "out of memory: {}; use a smaller --batch_size", 4),
    ("OutOfRangeError", "File too large", "{}; allow larger files (ulimit -f)", 4),
    ("PermissionDeniedError", "", "{}", 4),
    ("DataLossError", "", "damaged records: {}; convert the data again", 3),
    ("UnavailableError", "", f"a peer went away: {{}}; {_PEERS}", 75),
    ("AbortedError", "", f"a peer went away: {{}}; {_PEERS}", 75),
    ("CancelledError", "", f"a peer went away: {{}}; {_PEERS}", 75),
    ("DeadlineExceededError", "", f"a peer does not answer: {{}}; {_PEERS}", 75),
)
# Lines that say where in a graph an error came up, and not which.
_WHERE = re.compile(
    r"\s|$|Graph execution error|Detected at node|Detected unsupported|Stack trace|"
    r"\d+ root error|\(\d+\) [A-Z]\w+:\s*$"
)


def launch(command: Command, main: Callable[[Values], None]):
    """Reads the command line, runs `main(values)` and exits with the documented code.

    Args:
      command: what the flags are.
      main: does the work.
    """
    ensure_utf8_names()
    print_safely()
    # Long loops replace this by `signals.stop_on_signal`; here it covers what comes before and
    # after them. As Ctrl-C: no Exception, which a place that is prepared for anyone's errors would
    # take for one of these.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    if "TF_CONFIG" not in os.environ:
        sys.exit(run_command(command, main, sys.argv[1:]))
    try:
        code = run_command(command, main, sys.argv[1:])
    except Exception:
        traceback.print_exc()
        code = 1
    if code:
        # A worker that says goodbye is not missed: the others would wait for it forever.
        sys.stdout.flush()
        os._exit(code)


def run_command(command: Command, main: Callable[[Values], None], arguments: Sequence[str]) -> int:
    """Like `launch`, but returns the exit code (see `ccssl_tf.runs.errors`)."""
    try:
        if any(word in HELP_WORDS for word in arguments):
            print(command.help(arguments))
            return 0
        if "--version" in arguments:
            print(f"ccssl_tf {ccssl_tf.__version__}")
            return 0
        main(command.parse(arguments))
        return 0
    except flags.Error as error:
        return _report(str(error), FlagError.exit_code)
    except CcsslError as error:
        return _report(str(error), error.exit_code)
    except KeyboardInterrupt:
        message = "interrupted; the same command continues where it stopped"
        return _report(message, Interrupted.exit_code)
    except MemoryError:
        message = "out of memory: use a smaller --batch_size or fewer processes"
        return _report(message, ResourceError.exit_code)
    except BrokenPipeError:
        # The reader of the output has gone; say no more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
    text = str(getattr(error, "message", error)).strip()
    told = (line for line in text.splitlines() if not _WHERE.match(line))
    reason = re.sub(r"{{.*?}} ?| ?\[Op:.*", "", next(told, "no details"))[:300]
    for name, part, message, code in _TENSORFLOW_ERRORS:
        if type(error).__name__ == name and re.search(part, text, re.IGNORECASE):
            return message.format(reason), code
    return None


def _report(message: str, code: int) -> int:
    print_line(f"error: {' '.join(message.splitlines())}", sys.stderr)
    return code
