"""Commands: their flags, those of a choice, help, errors told in one line, exit codes, signals."""

import dataclasses
import errno
import os
import pathlib
import re
import signal
import subprocess
import sys

import pytest
import tensorflow as tf
from absl import flags

from ccssl_tf.runs import errors, launch
from ccssl_tf.runs.command import Command, ForeignFlagError
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.settings import CommandSettings, SeedSettings, Settings, setting

ROOT = pathlib.Path(__file__).parents[2]

# A command of a process of its own.
SAMPLE = '''
"""Does something."""

import dataclasses
import os
import time

from ccssl_tf.runs import errors, launch, signals
from ccssl_tf.runs.command import Command
from ccssl_tf.runs.settings import CommandSettings, SeedSettings, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class SampleSettings(CommandSettings, SeedSettings):
    """This command."""

    count: int = setting(3, "How many, in pieces.", minimum=1)
    do: str | None = setting(None, "What to do.")


def main(values):
    settings = values[SampleSettings]
    if settings.do == "wait":
        with signals.stop_on_signal() as stopped:
            print("ready", flush=True)
            while not stopped():
                time.sleep(0.01)
            print("stopping", flush=True)
            time.sleep(float(os.environ.get("LINGER", 0)))
        raise errors.Interrupted("stopped at step 7; the same command continues")
    if settings.do == "catch":
        try:
            print("ready", flush=True)
            time.sleep(60)
        except Exception as error:
            raise errors.InputError(f"a reader of anyone's files says: {error}")
    if settings.do == "fill":
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        from ccssl_tf.runs.files import write_json
        write_json("filled.json", dict(a=list(range(10_000))))
    if settings.do:
        raise getattr(errors, settings.do)("data: is wrong")
    print(f"count {settings.count} seed {settings.seed}")


COMMAND = Command("sample_command", __doc__, (SampleSettings,))

if __name__ == "__main__":
    launch.launch(COMMAND, main)
'''


@pytest.fixture
def sample(tmp_path):
    """Runs the sample command with arguments; returns the finished process."""
    (tmp_path / "sample_command.py").write_text(SAMPLE)
    environment = dict(os.environ, PYTHONPATH=str(ROOT))

    def run(*arguments, start_only=False, **extra):
        command = [sys.executable, "-m", "sample_command", *arguments]
        options = dict(
            cwd=tmp_path,
            env=dict(environment, **extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        return (
            subprocess.Popen(command, **options)
            if start_only
            else subprocess.run(command, **options)
        )

    return run


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shared(CommandSettings, SeedSettings):
    """This command."""

    task: str = setting(help="What to learn.")
    title: str | None = setting(None, "Of the page.")
    names: tuple[str, ...] = setting((), "Of classes.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Puzzle(Settings):
    """--task=puzzle."""

    size: int = setting(3, "Side of a tile.", unit="pixels", minimum=1)
    gray: bool = setting(False, "Whether tiles are grey.")
    network: str = setting("small", "Of the puzzle: small, large or wide.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turn(Settings):
    """--task=turn."""

    angle: float = setting(90.0, "Between two pictures. " + "All are multiples of it. " * 6)
    gray: bool = setting(False, "Whether tiles are grey.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Large(Settings):
    """--network=large."""

    depth: int = setting(9, "Layers.")


TASKS = dict(puzzle=Puzzle, turn=Turn)
NETWORKS = dict(small=[], large=[Large])


def chosen(selected):
    if selected["task"] is None:
        return []
    if selected["task"] not in TASKS:
        raise errors.FlagError(f"--task={selected['task']}: unknown; there are puzzle, turn")
    classes = [TASKS[selected["task"]]]
    return classes + (NETWORKS[selected["network"] or "small"] if classes == [Puzzle] else [])


def owners():
    tasks = {f"--task={name}": [cls] for name, cls in TASKS.items()}
    return tasks | {f"--network={name}": classes for name, classes in NETWORKS.items()}


BARE = Command("ccssl_tf.bare", "Does little.", (CommandSettings, SeedSettings))
COMMAND = Command(
    "ccssl_tf.sample",
    "Learns something.",
    (Shared,),
    selectors=("task", "network"),
    chosen=chosen,
    owners=owners,
    overview=lambda: "Tasks:\n  puzzle  Solves.\n  turn    Turns.",
)


def one_line(text):
    assert text.count("\n") == 1 and text.endswith("\n"), text
    assert "Traceback" not in text
    return text


def raising(error):
    def main(values):
        raise error

    return main


def ran(command, *arguments):
    """Runs in this process; returns the values `main` got."""
    seen = []
    assert launch.run_command(command, seen.append, arguments) == 0
    (values,) = seen
    return values


def refused(command, *arguments):
    """Returns the error of a command line, which is one line and code 1 of a run, too."""
    with pytest.raises(errors.FlagError) as caught:
        command.parse(arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.FlagError("--k: too large"), 1),
        (errors.InputError("x: no such file"), 2),
        (errors.CorruptArtifactError("x: damaged"), 3),
        (errors.ResourceError("disk full"), 4),
        (errors.Interrupted("stopped"), 75),
        (errors.InputError("two\nlines"), 2),
        (KeyboardInterrupt(), 75),
        (MemoryError(), 4),
        (OSError(errno.ENOSPC, "No space left on device", "out/shard"), 4),
        (PermissionError(errno.EACCES, "Permission denied", "out/shard"), 4),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "file/out"), 2),
        (FileExistsError(errno.EEXIST, "File exists", "link/to/nothing"), 2),
        (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300), 2),
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\n more"), 4),
        (tf.errors.ResourceExhaustedError(None, None, ""), 4),
        (tf.errors.DataLossError(None, None, "corrupted record at 12"), 3),
        (tf.errors.OutOfRangeError(None, None, "train-0; File too large"), 4),
        (tf.errors.UnavailableError(None, None, "Socket closed"), 75),
    ],
    ids=lambda value: (
        value if isinstance(value, int) else f"{type(value).__name__}-{str(value)[:20]!r}"
    ),
)
def test_every_error_ends_with_its_code_and_one_line(error, code, capsys):
    assert launch.run_command(BARE, raising(error), []) == code
    assert one_line(capsys.readouterr().err).startswith("error: ")


def test_tensorflows_own_names_are_left_out(capsys):
    error = tf.errors.DataLossError(
        None,
        None,
        "{{function_node __wrapped__IteratorGetNext}} corrupted record at 12 [Op:IteratorGetNext] "
        "name: ",
    )
    launch.run_command(BARE, raising(error), [])
    assert capsys.readouterr().err.startswith("error: damaged records: corrupted record at 12; ")


IN_A_GRAPH = """Graph execution error:

Detected at node CollectiveReduceV2 defined at (most recent call last):
  File "train.py", line 3, in <module>

Collective ops is aborted by: Socket closed
The error could be from a previous operation. Restart your program to reset.
\t [[{{node CollectiveReduceV2}}]] [Op:__inference_step_7]"""


@pytest.mark.parametrize(
    "error, line",
    [
        (
            tf.errors.UnavailableError(None, None, IN_A_GRAPH),
            "a peer went away: Collective ops is aborted by: Socket closed; start all workers "
            "again to continue",
        ),
        (
            tf.errors.ResourceExhaustedError(None, None, "out/ckpt; No space left on device"),
            "the disk is full: out/ckpt; No space left on device; free some space",
        ),
        (
            tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor"),
            "out of memory: OOM when allocating tensor; use a smaller --batch_size",
        ),
    ],
    ids=["peer", "disk", "memory"],
)
def test_what_tensorflow_says_becomes_what_to_do(error, line, capsys):
    launch.run_command(BARE, raising(error), [])
    assert capsys.readouterr().err == f"error: {line}\n"


@pytest.mark.parametrize("error", [ZeroDivisionError("bug"), KeyError("bug")])
def test_mistakes_of_the_program_keep_their_traceback(error):
    with pytest.raises(type(error)):
        launch.run_command(BARE, raising(error), [])


def test_success_is_zero_and_main_gets_the_settings():
    values = ran(BARE, "--seed=5")
    assert values[SeedSettings].seed == 5
    assert (values.module, values.arguments) == ("ccssl_tf.bare", ["--seed=5"])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["stray"], "unexpected argument 'stray'"),
        (["--seed=1", "stray"], "unexpected argument 'stray'"),
        (["--seed=many"], "seed"),
        (["--seed=-1"], "seed"),
        (["--seed=99999999999"], "seed"),
        (["--seed"], "seed"),
        (["--seed="], "seed"),
        (["-seed="], "seed"),
        (["--sede=1"], "Did you mean: seed"),
        (["--flagfile=no_such_file"], "no_such_file"),
        (["--flagfile="], "flagfile"),
        (["--output_dir=caf\udce9"], r"caf\udce9"),
    ],
)
def test_flag_errors_are_one_line_with_code_1(arguments, named, capsys):
    seen = []
    assert launch.run_command(BARE, seen.append, arguments) == 1
    assert named in one_line(capsys.readouterr().err)
    assert not seen


def test_a_choice_brings_its_flags():
    values = ran(COMMAND, "--size=4", "--task=puzzle", "--gray", "--names=a,b")
    assert values[Puzzle] == Puzzle(size=4, gray=True)
    assert values[Shared].names == ("a", "b") and Turn not in values
    assert ran(COMMAND, "--task=turn", "--angle=45")[Turn].angle == 45.0
    # What a choice brings may choose further.
    values = ran(COMMAND, "--task=puzzle", "--depth=3", "--network=large")
    assert values[Large].depth == 3
    assert refused(COMMAND, "--task=juggle").startswith("--task=juggle: unknown; there are")
    assert refused(COMMAND, "--seed=1") == "--task: not given; What to learn."


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["--task=turn", "--size=4"],
            "--size is a flag of --task=puzzle; not of --task=turn: leave it out",
        ),
        (
            ["--size=4", "--task", "turn", "--depth", "3"],
            "--size is a flag of --task=puzzle; --depth is a flag of --network=large; not of "
            "--task=turn: leave them out",
        ),
        (
            ["--task=puzzle", "--angle=3", "--network=small"],
            "--angle is a flag of --task=turn; not of --task=puzzle --network=small: leave it out",
        ),
    ],
)
def test_flags_of_another_choice_are_refused_by_the_names_of_their_owners(
    arguments, message, capsys
):
    assert launch.run_command(COMMAND, print, arguments) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"error: {message}\n")
    with pytest.raises(ForeignFlagError) as caught:
        COMMAND.parse(arguments)
    names = re.findall(r"--(\w+) is a flag", message)
    assert list(caught.value.names) == names


def test_without_a_choice_no_other_flag_is_judged():
    with pytest.raises(FlagError, match="^--task: not given; What to learn.$"):
        COMMAND.parse(["--nogray"])


def test_of_many_owners_the_first_are_named():
    many = {f"--task=t{number}": [Puzzle] for number in range(5)}
    command = dataclasses.replace(COMMAND, owners=lambda: many)
    assert refused(command, "--task=turn", "--size=3").startswith(
        "--size is a flag of --task=t0, --task=t1, --task=t2 and 2 more; not of --task=turn"
    )


def test_an_unknown_flag_is_told_what_was_meant():
    assert "Did you mean: size" in refused(COMMAND, "--task=puzzle", "--sise=4")
    assert "Did you mean: angle" in refused(COMMAND, "--task=turn", "--angel=4")
    assert "'nothing_like_it'" in refused(COMMAND, "--task=turn", "--nothing_like_it=4")


def test_values_are_written_with_an_equals_sign_or_a_blank():
    values = ran(COMMAND, "--task", "puzzle", "--size", "4", "--title", "a b", "-gray")
    assert values[Puzzle] == Puzzle(size=4, gray=True)
    assert values[Shared].title == "a b"
    # A value may look like a flag, be another's name or end with an equals sign.
    assert ran(COMMAND, "--title", "-5", "--task=turn", "--angle", "-3")[Turn].angle == -3.0
    assert ran(COMMAND, "--task=turn", "--title=YQ==")[Shared].title == "YQ=="
    assert ran(COMMAND, "--task=turn", "--title=size")[Shared].title == "size"
    assert refused(COMMAND, "--task=turn", "--title=").startswith("--title=: the value is empty")
    assert refused(COMMAND, "--task=turn", "--names=").startswith("--names=: the value is empty")
    assert "'puzzle'" in refused(COMMAND, "--task=turn", "puzzle")


def test_flagfiles_nest_and_what_is_later_wins(tmp_path):
    (tmp_path / "base").write_text("# Table 1.\n\n--task=puzzle\n--size=4\n--seed=1\n")
    (tmp_path / "more").write_text(
        f"--flagfile={tmp_path / 'base'}\n--seed=2\n// Remark.\n--gray\n"
    )
    (tmp_path / "other").write_text("--seed=3\n")
    more, other = (f"--flagfile={tmp_path / name}" for name in ("more", "other"))

    def given(*arguments):
        values = ran(COMMAND, *arguments)
        return values[Puzzle].size, values[Puzzle].gray, values[Shared].seed

    assert given(more) == (4, True, 2)
    assert given(more, other) == (4, True, 3)
    assert given(other, more) == (4, True, 2)
    assert given(other, more, "--size=5", "--nogray") == (5, False, 2)
    assert given("--size=5", "--flagfile", str(tmp_path / "more")) == (4, True, 2)
    # A later choice makes the earlier one's flags another's, in a flagfile, too.
    assert refused(COMMAND, more, "--task=turn").startswith("--size is a flag of --task=puzzle")
    values = ran(COMMAND, more)
    assert values.arguments == [more], "what was typed is what the run records"


def test_a_flagfile_that_is_not_utf8_is_a_flag_error(tmp_path):
    (tmp_path / "latin1").write_bytes(b"# Pr\xfcfung\n--seed=1\n")
    assert "latin1: is not UTF-8" in refused(BARE, f"--flagfile={tmp_path / 'latin1'}")


def shown(command, *arguments):
    """Returns the help text and its groups of flags."""
    text = command.help(arguments)
    assert max(map(len, text.splitlines())) <= 100
    return text, re.findall(r"^(\S.*):$", text, re.MULTILINE)


def test_help_without_a_choice_lists_what_there_is_to_choose():
    text, groups = shown(COMMAND, "--help")
    usage, blank, description, *_ = text.splitlines()
    assert usage == "usage: python -m ccssl_tf.sample [--flagfile=FILE ...] [--flag=value ...]"
    assert (blank, description) == ("", "Learns something.")
    assert "\nTasks:\n  puzzle  Solves.\n  turn    Turns.\n" in text
    assert groups == ["Tasks", "This command"]
    assert "--size" not in text and "  --task: What to learn.\n" in text
    # What cannot be chosen, and what is no flag, is no reason not to help.
    for words in (["--task=juggle"], ["--nonsense"], ["--flagfile=none"], ["stray", "-h"]):
        assert shown(COMMAND, *words, "--help") == (text, groups)


def test_help_with_a_choice_shows_its_flags(tmp_path):
    text, groups = shown(COMMAND, "--task=puzzle", "--help")
    assert groups == ["This command", "--task=puzzle"]
    assert "\n  --size: Side of a tile. (pixels; default 3)" in text
    assert "Solves." not in text and "--angle" not in text and "--depth" not in text
    assert shown(COMMAND, "--helpfull", "--network", "large", "--task", "puzzle")[1] == [
        "This command",
        "--task=puzzle",
        "--network=large",
    ]
    (tmp_path / "flags").write_text("--task=turn\n")
    text, groups = shown(COMMAND, f"--flagfile={tmp_path / 'flags'}", "--help")
    assert groups == ["This command", "--task=turn"]
    (first, second, *_) = [line for line in text.splitlines() if "multiples" in line]
    assert first.startswith("  --angle: Between two pictures. All") and second.startswith("      ")


def test_help_of_a_command_without_choices_is_all_its_flags(capsys):
    assert launch.run_command(BARE, raising(AssertionError), ["--seed=1", "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == "" and out == BARE.help([]) + "\n"
    assert shown(BARE)[1] == ["Flags of every command", "What is random"]
    assert out.count("--seed:") == 1 and "logtostderr" not in out


def test_nothing_is_added_to_absls_global_flags():
    before = set(flags.FLAGS)
    ran(COMMAND, "--task=puzzle", "--size=4")
    COMMAND.help(["--task=puzzle"])
    refused(COMMAND, "--task=turn", "--size=4")
    assert set(flags.FLAGS) == before
    assert not {"task", "size", "seed", "network"} & before


def test_of_an_older_versions_flags_those_of_the_choice_beside_their_defaults_tell_a_run_apart():
    recorded = dict(task="puzzle", size="4", gray="false", angle="45", seed="0", network="small")
    assert COMMAND.settings_of_older(recorded) == dict(task="puzzle", size="4")
    recorded = dict(task="turn", size="4", gray="true", angle="90.0", gone="7")
    assert COMMAND.settings_of_older(recorded) == dict(task="turn", gray="true")
    recorded = dict(task="juggle", balls="3")
    assert COMMAND.settings_of_older(recorded) == recorded


def test_real_commands_end_with_the_codes(sample):
    finished = sample("--count=2", "--seed=9")
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "count 2 seed 9\n", "")
    for name, code in (("FlagError", 1), ("CorruptArtifactError", 3), ("Interrupted", 75)):
        finished = sample(f"--do={name}")
        assert (finished.returncode, finished.stdout, finished.stderr) == (
            code,
            "",
            "error: data: is wrong\n",
        )
    finished = sample("--count=0")
    assert finished.returncode == 1
    assert "count" in one_line(finished.stderr)


def test_a_full_disk_is_one_line(sample, tmp_path):
    before = set(tmp_path.iterdir())
    finished = sample("--do=fill")
    assert finished.returncode == 4
    assert "filled.json" in one_line(finished.stderr)
    assert {path for path in tmp_path.iterdir() if path.name != "__pycache__"} == before


def test_a_command_asked_for_help_does_nothing_and_imports_little(sample):
    finished = sample(
        "--help", "--do=InputError", TF_CPP_MIN_LOG_LEVEL="0", PYTHONPROFILEIMPORTTIME="1"
    )
    assert finished.returncode == 0
    assert finished.stdout.startswith("usage: python -m sample_command [--flagfile=FILE ...]")
    assert not re.search(r"\| +(tensorflow|keras|matplotlib)$", finished.stderr, re.MULTILINE)


def test_first_signal_stops_cleanly_and_second_at_once(sample):
    for number in (signal.SIGTERM, signal.SIGINT):
        process = sample("--do=wait", start_only=True)
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=100)
        assert (process.returncode, out, err) == (
            75,
            "stopping\n",
            "error: stopped at step 7; the same command continues\n",
        )
    process = sample("--do=wait", start_only=True, LINGER="60")
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    assert process.stdout.readline() == "stopping\n"
    process.terminate()
    out, err = process.communicate(timeout=100)
    assert (process.returncode, out, err) == (75, "", "")


def test_a_signal_is_not_taken_for_an_error(sample):
    process = sample("--do=catch", start_only=True)
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    _, err = process.communicate(timeout=100)
    assert (process.returncode, err) == (
        75,
        "error: interrupted; the same command continues where it stopped\n",
    )


def test_a_worker_of_several_leaves_without_a_goodbye(sample):
    """One that says goodbye is not missed: the others would wait for it forever."""
    finished = sample("--do=InputError", TF_CONFIG="{}")
    assert (finished.returncode, finished.stderr) == (2, "error: data: is wrong\n")
    finished = sample("--do=nothing_like_it", TF_CONFIG="{}")
    assert finished.returncode == 1
    assert "Traceback" in finished.stderr and "AttributeError" in finished.stderr
