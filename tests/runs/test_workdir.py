"""Work directories: tied to settings and inputs, held by one process, finished by DONE alone."""

import dataclasses
import datetime
import json
import os

import pytest

import ccssl_tf
from ccssl_tf.runs.digests import Digests
from ccssl_tf.runs.errors import CorruptArtifactError, FlagError, InputError
from ccssl_tf.runs.files import write_json
from ccssl_tf.runs.json_files import read_json
from ccssl_tf.runs.lock import locked
from ccssl_tf.runs.run_record import input_fingerprint, read_flags
from ccssl_tf.runs.settings import CommandSettings, WorkdirSettings, setting
from ccssl_tf.runs.values import Values, read
from ccssl_tf.runs.workdir import Workdir


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample(CommandSettings, WorkdirSettings):
    """A sample."""

    flip: bool = setting(True, "Mirror.")
    normal: bool = setting(False, "Normalise.")
    names: tuple[str, ...] = setting(("a", "b"), "Of classes.")
    also: tuple[str, ...] = setting((), "What else.", repeated=True)
    size: int = setting(3, "Of cells.")
    rate: float = setting(0.1, "Of learning.")
    title: str = setting("two words # no comment", "Of the page.")
    teacher: str | None = setting(None, "Whom to ask.")
    data_dir: str | None = setting(None, "Images.")
    num_workers: int = setting(1, "Processes.")
    normalization: str = setting("auto", "Of layers.", automatic="that of the network")
    stride: int | None = setting(None, "Of conv1.", automatic="that of the network", formerly=["4"])


def settings(*arguments, **resolved):
    """Values of the command line; `resolved` is what the program chose where it was left open."""
    values = read([Sample], arguments, "ccssl_tf.sample")
    return values.resolved(dataclasses.replace(values[Sample], **resolved)) if resolved else values


def run(path, values=None, **inputs):
    """A run that has written something."""
    with Workdir(path, inputs=inputs, settings=values or settings()) as workdir:
        (workdir.path / "output").touch()
        return workdir


ARGUMENTS = [
    "--noflip",
    "--normal",
    "--names=x,y z,it's",
    "--also=p q",
    "--also=r=s",
    "--size=-4",
    "--rate=1e-07",
    '--title= "quoted" = #',
    "--num_workers=7",
]


@pytest.mark.parametrize("arguments", [[], ARGUMENTS], ids=["defaults", "all set"])
def test_flags_txt_is_a_flagfile_of_the_same_settings(tmp_path, arguments):
    before = settings(*arguments, "--dry_run")
    run(tmp_path / "out", before)
    text = (tmp_path / "out" / "flags.txt").read_text()
    assert "teacher" not in text and "dry_run" not in text
    after = settings(f"--flagfile={tmp_path / 'out' / 'flags.txt'}")
    assert after[Sample] == dataclasses.replace(before[Sample], dry_run=False)
    run(tmp_path / "out", after)


def test_the_same_settings_continue(tmp_path):
    for _ in range(3):
        run(tmp_path / "out", settings(*ARGUMENTS))


def test_run_json_says_what_tells_the_run_apart(tmp_path):
    source = make_input(tmp_path / "source")
    values = settings("--size=4", f"--data_dir={source}", normalization="none")
    run(tmp_path / "out", values, data_dir=source)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["command"] == ["ccssl_tf.sample", "--size=4", f"--data_dir={source}"]
    assert record["settings"] == dict(size="4", data_dir=str(source), normalization="none")
    fingerprint = input_fingerprint(source)
    assert record["inputs"] == dict(data_dir=dict(path=str(source), fingerprint=fingerprint))
    # A program's call is recorded as the command line that would do the same.
    run(tmp_path / "called", Values("ccssl_tf.sample", [Sample(size=4, flip=False)]))
    record = json.loads((tmp_path / "called" / "run.json").read_text())
    assert record["command"] == ["ccssl_tf.sample", "--noflip", "--size=4"]


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        (["--size=3"], ["--size=4"], "--size=3, not --size=4"),
        (["--flip"], ["--noflip"], "--flip, not --noflip"),
        (["--normal"], [], "--normal, not --nonormal"),
        ([], ["--names=b,a"], "--names=a,b, not --names=b,a"),
        (["--also=a"], ["--also=a", "--also=b"], "--also=a, not --also=a --also=b"),
        (["--also=a", "--also=b"], ["--also=b"], "--also=a --also=b, not --also=b"),
        ([], ["--teacher=x"], "no --teacher, not --teacher=x"),
        (["--teacher=x"], [], "--teacher=x, not no --teacher"),
        (["--also=a", "--also=b"], [], "--also=a --also=b, not no --also"),
    ],
)
def test_another_value_is_refused(tmp_path, first, second, named):
    run(tmp_path / "out", settings(*first))
    before = (tmp_path / "out" / "flags.txt").read_text()
    with pytest.raises(InputError) as caught:
        run(tmp_path / "out", settings(*second))
    assert named in str(caught.value) and str(tmp_path / "out") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "out" / "flags.txt").read_text() == before
    run(tmp_path / "out", settings(*first))


def test_a_dry_run_refuses_what_a_run_would_and_writes_nothing(tmp_path):
    Workdir(tmp_path / "out", inputs={}, settings=settings()).check()
    assert not (tmp_path / "out").exists()
    run(tmp_path / "out", settings("--size=3"))
    held = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    Workdir(tmp_path / "out", inputs={}, settings=settings("--dry_run")).check()
    with pytest.raises(InputError, match="--size=3, not --size=4"):
        Workdir(tmp_path / "out", inputs={}, settings=settings("--size=4", "--dry_run")).check()
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == held


def test_settings_of_place_and_speed_are_free(tmp_path):
    run(tmp_path / "out", settings("--num_workers=1"))
    run(tmp_path / "out", settings("--num_workers=4", f"--workdir={tmp_path / 'out'}"))
    assert read_flags(tmp_path / "out")["num_workers"] == "4"


def without_flags(directory):
    """Makes of `run.json` one of a version that left the flags to flags.txt."""
    record = json.loads((directory / "run.json").read_text())
    (directory / "run.json").write_text(
        json.dumps({name: record[name] for name in record if name not in ("flags", "checksum")})
    )


def test_settings_that_a_newer_program_adds_are_free(tmp_path):
    run(tmp_path / "out")
    path = tmp_path / "out" / "flags.txt"
    lines = [line for line in path.read_text().splitlines(True) if "rate" not in line]
    path.write_text("".join(lines) + "--gone=4\n")
    without_flags(tmp_path / "out")
    run(tmp_path / "out")
    path.write_text("".join(lines))
    without_flags(tmp_path / "out")
    with pytest.raises(InputError, match="no --rate, not --rate=0.5"):
        run(tmp_path / "out", settings("--rate=0.5"))


# What version 0.1 wrote: every flag of every task and network, automatic ones as they were typed.
OLDER_FLAGS = """--flip
--nonormal
--names=a,b
--size=4
--rate=0.1
--title=two words # no comment
--num_workers=1
--normalization=auto
--stride=4
--task=puzzle
--base_task=jigsaw_pp
--num_permutations=701
--nodecay_biases
--context_grid=3,3
--jit
"""


@pytest.fixture
def older_run(tmp_path):
    directory, source = tmp_path / "out", make_input(tmp_path / "source")
    directory.mkdir()
    inputs = dict(data_dir=dict(path=str(source), fingerprint=input_fingerprint(source)))
    command = ["ccssl_tf.sample", f"--data_dir={source}", "--size=4"]
    write_json(directory / "run.json", dict(command=command, inputs=inputs, python="3.11.7"))
    (directory / "flags.txt").write_text(OLDER_FLAGS + f"--data_dir={source}\n")
    (directory / "output").touch()
    return directory


def test_a_run_of_an_older_version_continues_and_is_recorded_anew(tmp_path, older_run):
    source = tmp_path / "source"
    arguments = ["--size=4", f"--data_dir={source}"]
    ran = settings(*arguments, normalization="batch_norm", stride=2)
    run(older_run, ran, data_dir=source)
    flags = read_flags(older_run)
    assert (flags["normalization"], flags["stride"]) == ("batch_norm", "2")
    assert "num_permutations" not in flags and "task" not in flags
    told = json.loads((older_run / "run.json").read_text())["settings"]
    assert told["normalization"] == "batch_norm" and told["size"] == "4"
    run(older_run, ran, data_dir=source)
    # From now on what was chosen automatically counts.
    with pytest.raises(InputError, match="--normalization=batch_norm, not --normalization=none"):
        run(older_run, settings(*arguments, normalization="none", stride=2), data_dir=source)


@pytest.mark.parametrize(
    "arguments, resolved, named",
    [
        (["--size=5"], dict(normalization="none", stride=2), "--size=4, not --size=5"),
        (
            ["--size=4", "--normalization=none"],
            dict(stride=2),
            "--normalization=auto, not --normalization=none",
        ),
        (["--size=4", "--stride=2"], dict(normalization="none"), "--stride=4, not --stride=2"),
        (["--size=4", "--noflip"], dict(normalization="none", stride=2), "--flip, not --noflip"),
    ],
)
def test_a_run_of_an_older_version_with_another_value_is_refused(
    tmp_path, older_run, arguments, resolved, named
):
    source, before = tmp_path / "source", (older_run / "flags.txt").read_text()
    with pytest.raises(InputError, match=named):
        run(older_run, settings(*arguments, **resolved), data_dir=source)
    make_input(source, "longer")
    with pytest.raises(InputError, match="another --data_dir"):
        run(older_run, settings("--size=4", normalization="none", stride=2), data_dir=source)
    assert (older_run / "flags.txt").read_text() == before


def make_input(path, text="one"):
    path.mkdir(exist_ok=True)
    (path / "file.txt").write_text(text)
    return path


def test_a_run_that_has_written_nothing_may_start_again_with_other_settings(tmp_path):
    with Workdir(tmp_path / "out", inputs={}, settings=settings()):
        pass
    with Workdir(tmp_path / "out", inputs={}, settings=settings("--size=4")) as workdir:
        assert "--size=4" in (workdir.path / "flags.txt").read_text()


def test_changed_inputs_are_refused_with_both_fingerprints(tmp_path):
    source = make_input(tmp_path / "source")
    run(tmp_path / "out", data_dir=source)
    before = input_fingerprint(source)
    run(tmp_path / "out", data_dir=source)
    make_input(source, "longer")
    after = input_fingerprint(source)
    with pytest.raises(InputError, match="--data_dir") as caught:
        run(tmp_path / "out", data_dir=source)
    assert before != after
    assert before[:12] in str(caught.value) and after[:12] in str(caught.value)
    with pytest.raises(InputError, match="nothing"):
        run(tmp_path / "out")


def test_an_input_may_be_written_otherwise(tmp_path):
    source = make_input(tmp_path / "source")
    run(tmp_path / "out", settings(f"--data_dir={source}"), data_dir=source)
    other = f"{tmp_path}/out/../source"
    run(tmp_path / "out", settings(f"--data_dir={other}"), data_dir=other)


def test_missing_input_makes_no_directory(tmp_path):
    with pytest.raises(InputError, match="none: no such"):
        run(tmp_path / "out", data_dir=tmp_path / "none")
    assert not (tmp_path / "out").exists()


def test_a_foreign_directory_is_refused_and_left_alone(tmp_path):
    directory = make_input(tmp_path / "photos")
    with pytest.raises(InputError, match="already holds something else .file.txt"):
        run(directory)
    assert os.listdir(directory) == ["file.txt"]


@pytest.mark.parametrize("below", ["", "below", "below/deeper"])
def test_a_file_is_no_directory(tmp_path, below):
    (tmp_path / "file").write_text("text")
    # The second is a one-line error with code 2 of its own.
    with pytest.raises((InputError, NotADirectoryError), match="file"):
        run(tmp_path / "file" / below if below else tmp_path / "file")


def test_no_directory_is_refused():
    with pytest.raises(FlagError, match="--workdir"):
        Workdir(None, inputs={}, settings=settings())


@pytest.mark.parametrize("junk", ["", "{", "[]", '{"inputs": 3}'])
def test_a_damaged_record_is_refused(tmp_path, junk):
    run(tmp_path / "out")
    (tmp_path / "out" / "run.json").write_text(junk)
    with pytest.raises(CorruptArtifactError, match="run.json"):
        run(tmp_path / "out")


@pytest.mark.parametrize("content", [None, b"", b"--size=3\n", b"--rate=\xff\n", b"\0" * 99])
def test_no_state_of_flags_txt_lets_another_run_continue(tmp_path, content):
    out = tmp_path / "out"
    run(out, settings("--rate=0.5", "--title=x"))
    path, before = out / "flags.txt", (out / "flags.txt").read_bytes()
    path.unlink() if content is None else path.write_bytes(content)
    for other in (settings(), settings("--rate=0.5"), settings("--rate=0.7", "--title=x")):
        with pytest.raises(InputError, match="already holds a run with --(rate=0.5|title=x), not"):
            run(out, other)
    run(out, settings("--rate=0.5", "--title=x"))
    assert path.read_bytes() == before  # The same run mends it.


@pytest.mark.parametrize("content", [None, b"", b"--rate=\xff\n"])
def test_of_an_older_version_flags_txt_alone_guards_and_must_be_whole(tmp_path, content):
    out = tmp_path / "out"
    run(out, settings("--rate=0.5"))
    without_flags(out)
    path = out / "flags.txt"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(CorruptArtifactError, match=r"flags.txt: (is missing|damaged)"):
        run(out, settings("--rate=0.5"))


def test_a_flipped_bit_of_the_record_is_refused(tmp_path):
    out = tmp_path / "out"
    run(out, settings("--rate=0.5"))
    path, content = out / "run.json", (out / "run.json").read_bytes()
    place = content.index(b"--rate=0.5")
    for bit in range(80):
        damaged = bytearray(content)
        damaged[place + bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(CorruptArtifactError, match="run.json"):
            run(out, settings("--rate=0.5"))


def test_a_finished_run_keeps_its_record(tmp_path):
    out = tmp_path / "out"
    with Workdir(out, inputs={}, settings=settings("--num_workers=2")) as workdir:
        workdir.finish(metrics={})
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with Workdir(out, inputs={}, settings=settings("--num_workers=4")) as workdir:
        assert workdir.is_done
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_leftovers_of_killed_writers_are_swept(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "flags.txt.tmp-1-0123abcd.txt").write_text("half")
    (tmp_path / "out" / "saved_model.tmp-1-0123abcd").mkdir()
    run(tmp_path / "out")
    names = set(os.listdir(tmp_path / "out")) - {".lock", ".holder"}
    assert names == {"flags.txt", "output", "run.json"}


def test_done_is_last_and_says_what_was_read(tmp_path, monkeypatch):
    source = make_input(tmp_path / "source")
    written = []
    replace = os.replace
    monkeypatch.setattr(
        os, "replace", lambda old, new: (replace(old, new), written.append(os.path.basename(new)))
    )
    inputs = dict(data_dir=source, teacher=None)
    with Workdir(tmp_path / "out", inputs=inputs, settings=settings()) as workdir:
        assert not workdir.is_done
        workdir.finish(metrics=dict(accuracy=0.5), timing=dict(images_per_second=3.0))
        assert workdir.is_done
    files = [".holder", "flags.txt", "run.json", "metrics.json", "timing.json", "digests.json"]
    assert written == [*files, "DONE"]
    metrics = read_json(tmp_path / "out" / "metrics.json", remedy="")
    assert metrics == dict(accuracy=0.5)
    assert Digests(tmp_path / "out").names == {*files[1:-1], "DONE"}
    assert Digests(tmp_path / "out").faults() == []
    timing = json.loads((tmp_path / "out" / "timing.json").read_text())
    assert timing["images_per_second"] == 3.0 and timing["seconds"] >= 0
    ended = datetime.datetime.strptime(timing["finished"], "%Y-%m-%dT%H:%M:%S%z")
    assert abs(datetime.datetime.now(datetime.UTC) - ended) < datetime.timedelta(minutes=10)
    done = json.loads((tmp_path / "out" / "DONE").read_text())
    assert done["inputs"] == dict(
        data_dir=dict(path=str(source), fingerprint=input_fingerprint(source))
    )
    assert done["version"] == ccssl_tf.__version__
    assert done == json.loads((tmp_path / "out" / "run.json").read_text())


def test_a_run_that_fails_in_its_metrics_is_not_done(tmp_path):
    with Workdir(tmp_path / "out", inputs={}, settings=settings()) as workdir:
        with pytest.raises(TypeError):
            workdir.finish(metrics=dict(accuracy=object()))
        assert not workdir.is_done


def test_two_never_share_a_directory(tmp_path):
    with Workdir(tmp_path / "out", inputs={}, settings=settings()) as first:
        (first.path / "output").touch()
        flags = (first.path / "flags.txt").read_text()
        second = Workdir(tmp_path / "out", inputs={}, settings=settings("--num_workers=4"))
        with pytest.raises(InputError, match=f"in use by process {os.getpid()} on "), second:
            pass
        assert (first.path / "flags.txt").read_text() == flags
    with second:
        assert "--num_workers=4" in (second.path / "flags.txt").read_text()


def test_the_lock_is_free_after_a_refusal_and_after_an_error(tmp_path):
    run(tmp_path / "out", settings("--size=3"))
    with pytest.raises(InputError):
        run(tmp_path / "out", settings("--size=4"))
    with locked(tmp_path / "out"):
        pass
    workdir = Workdir(tmp_path / "out", inputs={}, settings=settings("--size=3"))
    with pytest.raises(ZeroDivisionError), workdir:
        raise ZeroDivisionError
    with locked(tmp_path / "out"):
        pass


def test_a_process_that_leaves_writing_to_another_writes_nothing(tmp_path):
    run(tmp_path / "out")
    held = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    other = Workdir(tmp_path / "out", inputs={}, settings=settings("--size=4"), writes=False)
    with other as workdir:
        workdir.finish(metrics={})
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == held
    with Workdir(tmp_path / "none", inputs={}, settings=settings(), writes=False):
        pass
    assert not (tmp_path / "none").exists()
