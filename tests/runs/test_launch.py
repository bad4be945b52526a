"""Exit codes, help, flag errors, progress lines and signals, in this process and in real ones."""

import errno
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver

from ccssl_tf.runs import errors, launch, machine, progress, signals
from ccssl_tf.runs.progress import Progress

ROOT = pathlib.Path(__file__).parents[2]

SAMPLE = '''
"""Does something."""

import os
import time

from absl import flags

from ccssl_tf.runs import errors

_COUNT = flags.DEFINE_integer("count", 3, "How many, in pieces.", lower_bound=1)
_DO = flags.DEFINE_string("do", None, "What to do.")


def main():
    if _DO.value == "wait":
        with signals.stop_on_signal() as stopped:
            print("ready", flush=True)
            while not stopped():
                time.sleep(0.01)
            print("stopping", flush=True)
            time.sleep(float(os.environ.get("LINGER", 0)))
        raise errors.Interrupted("stopped at step 7; the same command continues")
    if _DO.value == "catch":
        try:
            print("ready", flush=True)
            time.sleep(60)
        except Exception as error:
            raise errors.InputError(f"a reader of anyone's files says: {error}")
    if _DO.value:
        raise getattr(errors, _DO.value)("data: is wrong")
    print(f"count {_COUNT.value} seed {launch.SEED.value}")


if __name__ == "__main__":
    launch.launch(main, __doc__)
'''

QUIET = """
import resource, sys, pathlib
tf = machine.quiet_tensorflow()
import keras
assert float(tf.reduce_sum(tf.ones([3, 3]))) == 9
from ccssl_tf.data import records
directory = pathlib.Path(sys.argv[1])

def fill():
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    records.write_shard(directory / "train-00000-of-00001.tfrecord", (bytes(1000) for _ in range(1000)))

print("tensorflow" in sys.modules, flush=True)
sys.argv = sys.argv[:1]
launch.launch(fill, "Fills the disk.")
"""  # noqa: E501


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
            else subprocess.run(command, **options, timeout=60)
        )

    return run


@pytest.fixture(autouse=True)
def restored_flags():
    with flagsaver.flagsaver():
        yield


def one_line(text):
    assert text.count("\n") == 1 and text.endswith("\n"), text
    assert "Traceback" not in text
    return text


def raising(error):
    def main():
        raise error

    return main


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
        (tf.errors.UnavailableError(None, None, "Socket closed"), 75),
    ],
    ids=lambda value: (
        value if isinstance(value, int) else f"{type(value).__name__}-{str(value)[:20]!r}"
    ),
)
def test_every_error_ends_with_its_code_and_one_line(error, code, capsys):
    assert launch.run_command(raising(error), "Raises.", ["raiser"]) == code
    assert one_line(capsys.readouterr().err).startswith("error: ")


def test_tensorflows_own_names_are_left_out(capsys):
    error = tf.errors.DataLossError(
        None,
        None,
        "{{function_node __wrapped__IteratorGetNext}} corrupted record at 12 [Op:IteratorGetNext] "
        "name: ",
    )
    launch.run_command(raising(error), "Raises.", ["raiser"])
    assert capsys.readouterr().err.startswith("error: damaged records: corrupted record at 12; ")


@pytest.mark.parametrize("error", [ZeroDivisionError("bug"), KeyError("bug")])
def test_mistakes_of_the_program_keep_their_traceback(error):
    with pytest.raises(type(error)):
        launch.run_command(raising(error), "Raises.", ["raiser"])


def test_success_is_zero(capsys):
    assert launch.run_command(lambda: print("fine"), "Prints.", ["printer", "--seed=5"]) == 0
    assert capsys.readouterr().out == "fine\n"
    assert launch.SEED.value == 5


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["stray"], "stray"),
        (["--seed=1", "stray"], "stray"),
        (["--seed=many"], "seed"),
        (["--seed=-1"], "seed"),
        (["--seed=99999999999"], "seed"),
        (["--seed="], "seed"),
        (["-seed="], "seed"),
        (["--sede=1"], "sede"),
        (["--flagfile=no_such_file"], "no_such_file"),
        (["--flagfile="], "flagfile"),
        (["--output_dir=caf\udce9"], r"caf\udce9"),
    ],
)
def test_flag_errors_are_one_line_with_code_1(arguments, named, capsys):
    ran = []
    assert launch.run_command(lambda: ran.append(1), "Appends.", ["program", *arguments]) == 1
    assert named in one_line(capsys.readouterr().err)
    assert not ran


def test_a_flagfile_that_is_not_utf8_is_a_flag_error(tmp_path, capsys):
    (tmp_path / "latin1").write_bytes(b"# Pr\xfcfung\n--seed=1\n")
    assert (
        launch.run_command(
            lambda: None, "Appends.", ["program", f"--flagfile={tmp_path / 'latin1'}"]
        )
        == 1
    )
    assert "--flagfile is not UTF-8" in one_line(capsys.readouterr().err)


def test_a_value_may_end_with_an_equals_sign(capsys, monkeypatch):
    values = flags.FlagValues()
    name = flags.DEFINE_string("name", None, "A name.", flag_values=values)
    monkeypatch.setattr(flags, "FLAGS", values)
    assert launch.run_command(lambda: print(name.value), "Prints.", ["program", "--name=YQ=="]) == 0
    assert capsys.readouterr().out == "YQ==\n"


def test_later_flagfiles_win(tmp_path, capsys):
    for name, seed in (("a", 1), ("b", 2)):
        (tmp_path / name).write_text(f"# Table 1.\n\n--seed={seed}\n")
    arguments = [f"--flagfile={tmp_path / 'a'}", f"--flagfile={tmp_path / 'b'}"]
    assert (
        launch.run_command(lambda: print(launch.SEED.value), "Prints.", ["program", *arguments])
        == 0
    )
    assert capsys.readouterr().out == "2\n"


def test_real_commands_end_with_the_codes(sample):
    finished = sample("--count=2", "--seed=9")
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "count 2 seed 9\n", "")
    for name, code in (
        ("FlagError", 1),
        ("InputError", 2),
        ("CorruptArtifactError", 3),
        ("ResourceError", 4),
        ("Interrupted", 75),
    ):
        finished = sample(f"--do={name}")
        assert (finished.returncode, finished.stdout, finished.stderr) == (
            code,
            "",
            "error: data: is wrong\n",
        )
    finished = sample("--count=0")
    assert finished.returncode == 1
    assert "count" in one_line(finished.stderr)


def test_help_is_grouped_the_commands_own_flags_first_and_quick(sample):
    start = time.monotonic()
    finished = sample("--help")
    assert time.monotonic() - start < 5
    assert (finished.returncode, finished.stderr) == (0, "")
    usage, blank, description, *_ = finished.stdout.splitlines()
    assert usage.startswith("usage: python -m ") and usage.endswith(
        "sample_command [--flagfile=FILE ...] [--flag=value ...]"
    )
    assert (blank, description) == ("", "Does something.")
    groups = re.findall(r"^(\S.*):$", finished.stdout, re.MULTILINE)
    assert groups == ["this command", "ccssl_tf.runs.launch"]
    assert "  --count: How many, in pieces. (default '3')" in finished.stdout
    assert "  --do: What to do.\n" in finished.stdout
    assert "logtostderr" not in finished.stdout
    assert sample("--help", "--nonsense").returncode == 0


def test_first_signal_stops_cleanly_and_second_at_once(sample):
    for number in (signal.SIGTERM, signal.SIGINT):
        process = sample("--do=wait", start_only=True)
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
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
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (75, "", "")


def test_a_signal_is_not_taken_for_an_error(sample):
    process = sample("--do=catch", start_only=True)
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (
        75,
        "error: interrupted; the same command continues where it stopped\n",
    )


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with signals.stop_on_signal() as stopped:
        assert not stopped()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopped()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


class Clock:
    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(progress.time, "monotonic", lambda: self.now)


def test_progress_lines(monkeypatch, capsys):
    clock = Clock(monkeypatch)
    progress = Progress("train", 100, "steps", done=20, interval=5)
    clock.now += 4
    progress.update(30)
    assert capsys.readouterr().out == ""
    clock.now += 1
    progress.update(40, loss=1.23456, accuracy=0.5, rate_scale=64, rate_unit="images")
    # 20 steps in 5 s are 4 a second, 256 images; 60 steps are left.
    assert (
        capsys.readouterr().out
        == "train  40/100 steps  loss 1.235  accuracy 0.5  256 images/s  ETA 0:00:15\n"
    )
    clock.now += 1
    progress.update(50)
    assert capsys.readouterr().out == ""
    progress.update(50, force=True)
    assert capsys.readouterr().out == "train  50/100 steps  5 steps/s  ETA 0:00:10\n"
    progress.update(100)
    assert capsys.readouterr().out.endswith("ETA 0:00:00\n")


def test_progress_without_any_yet_knows_no_end(monkeypatch, capsys):
    Clock(monkeypatch)
    Progress("copy", 10, "files").update(0, force=True)
    assert capsys.readouterr().out == "copy  0/10 files  0 files/s  ETA ?\n"


def test_tensorflow_starts_silently_and_a_full_disk_is_one_line(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    finished = subprocess.run(
        [sys.executable, "-c", QUIET, str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.stdout == "True\n"
    assert one_line(finished.stderr).startswith("error: ")
    assert finished.returncode == 4
    assert list(tmp_path.iterdir()) == []


def test_seed_everything_repeats():
    import random

    import keras
    import numpy as np

    def draws(seed):
        machine.seed_everything(seed)
        return [
            random.random(),
            np.random.rand(),
            float(tf.random.uniform([])),
            float(keras.random.uniform([])),
        ]

    assert draws(3) == draws(3)
    assert not set(draws(3)) & set(draws(4))
    draws(2**31 - 1)
