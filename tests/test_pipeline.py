"""The pipeline runs its stages in order, skips what is done, keeps what is replaced."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from ccssl_tf import pipeline
from ccssl_tf.runs import stages as stages_lib
from ccssl_tf.runs.command_lines import Stage
from ccssl_tf.runs.errors import CcsslError, InputError, Interrupted, ResourceError
from ccssl_tf.runs.lock import locked
from ccssl_tf.runs.run_record import input_fingerprint

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEMPLATES = [
    "data_prep.shapes --output_dir={workdir}/data",
    "ccssl_tf.train --task=jigsaw_pp --image_size=64 --data_dir={workdir}/data --seed={seed} "
    "--workdir={workdir}/a",
    "[labels] ccssl_tf.train --task=linear_probe --data_dir={workdir}/data "
    "--init_backbone={workdir}/a --workdir={workdir}/b",
]


def make_plan(workdir, templates=TEMPLATES, settings=(), seeds=(), **fields):
    settings = pipeline.PipelineSettings(
        command=tuple(templates),
        workdir=str(workdir),
        set=tuple(settings),
        seeds=tuple(seeds),
        **fields,
    )
    return pipeline.plan(settings)


class Ended:
    """A process that has ended."""

    def __init__(self, code):
        self.poll = lambda: code


class FakeStages:
    """Stands in for the child processes: writes what a Workdir would, and remembers what ran."""

    def __init__(self, monkeypatch):
        self.ran, self.codes, self.class_names = [], {}, ["cat"]

        def start(unused_processes, stage, *unused):
            return Ended(self.run(stage))

        monkeypatch.setattr(stages_lib.StageProcesses, "start", start)

    def run(self, command):
        name = command.directory.name
        self.ran.append(name)
        command.directory.mkdir(parents=True, exist_ok=True)
        inputs = {
            flag: command.flag(flag) for flag in ("data_dir", "init_backbone") if command.flag(flag)
        }
        record = dict(
            command=command.line,
            inputs={
                flag: dict(path=path, fingerprint=input_fingerprint(path))
                for flag, path in inputs.items()
            },
        )
        (command.directory / "run.json").write_text(json.dumps(record))
        if name in self.codes:
            return self.codes[name]
        content = repr(
            [command.line, [value["fingerprint"] for value in record["inputs"].values()]]
        )
        file = "manifest.json" if name == "data" else "backbone.json"
        (command.directory / file).write_text(
            json.dumps(dict(fingerprint=content, info=dict(class_names=self.class_names)))
        )
        (command.directory / "DONE").write_text(json.dumps(record))
        return 0


@pytest.fixture
def stages(monkeypatch):
    return FakeStages(monkeypatch)


def test_all_run_once_and_are_then_skipped(tmp_path, stages, capsys):
    commands = make_plan(tmp_path)
    pipeline.run_all(commands, tmp_path)
    pipeline.run_all(commands, tmp_path)
    assert stages.ran == ["data", "a", "b"]
    printed = capsys.readouterr().out
    assert "\n[2/3] a - train a network on jigsaw_pp\n" in printed
    assert "\n[2/3] took 0:00:00; 0:00:00 so far, 1 stage left\n" in printed
    assert printed.count("done already") == 3 and "python -m" not in printed


def test_an_unfinished_stage_is_continued_in_place(tmp_path, stages):
    commands = make_plan(tmp_path)
    stages.codes["a"] = 75
    with pytest.raises(CcsslError) as error:
        pipeline.run_all(commands, tmp_path)
    assert error.value.exit_code == 75
    del stages.codes["a"]
    pipeline.run_all(commands, tmp_path)
    assert stages.ran == ["data", "a", "a", "b"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["a", "b", "data"]


def test_another_command_line_keeps_the_old_stage_aside_and_redoes_what_depends_on_it(
    tmp_path, stages, capsys
):
    pipeline.run_all(make_plan(tmp_path), tmp_path)
    for seed in (1, 2):
        pipeline.run_all(make_plan(tmp_path, seed=seed), tmp_path)
    assert stages.ran == ["data", "a", "b", "a", "b", "a", "b"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [
        "a",
        "a.old-1",
        "a.old-2",
        "b",
        "b.old-1",
        "b.old-2",
        "data",
    ]
    assert "--seed=0" in json.loads((tmp_path / "a.old-1" / "run.json").read_text())["command"]
    assert f"kept as {tmp_path}/a.old-1" in capsys.readouterr().out


def test_a_refused_command_leaves_the_old_stage_where_it_was(tmp_path, stages, monkeypatch):
    pipeline.run_all(make_plan(tmp_path), tmp_path)
    monkeypatch.setattr(stages_lib.StageProcesses, "start", lambda *rest: Ended(2))
    with pytest.raises(CcsslError):
        pipeline.run_all(make_plan(tmp_path, seed=1), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["a", "b", "data"]
    assert "--seed=0" in json.loads((tmp_path / "a" / "run.json").read_text())["command"]


def test_flags_of_place_and_speed_continue_a_stage(tmp_path, stages):
    templates = [template + " --num_workers=1" for template in TEMPLATES]
    stages.codes["data"] = 2
    with pytest.raises(CcsslError):
        pipeline.run_all(make_plan(tmp_path, templates), tmp_path)
    del stages.codes["data"]
    pipeline.run_all(make_plan(tmp_path, templates, settings=["num_workers=2"]), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["a", "b", "data"]


def test_changed_images_redo_everything_after(tmp_path, stages):
    pipeline.run_all(make_plan(tmp_path), tmp_path)
    (tmp_path / "data" / "manifest.json").write_text(
        json.dumps(dict(fingerprint="other", info=dict(class_names=None)))
    )
    pipeline.run_all(make_plan(tmp_path), tmp_path)
    assert stages.ran == ["data", "a", "b", "a"], (
        "the probe is left out: these images have no labels"
    )


def test_commands_that_need_labels_are_left_out_without_them(tmp_path, stages, capsys):
    stages.class_names = None
    pipeline.run_all(make_plan(tmp_path), tmp_path)
    assert stages.ran == ["data", "a"]
    told = "[3/3] b - linear probe of a: left out, the images have no labels"
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(
    "code, kind, exit_code",
    [
        (2, CcsslError, 2),
        (1, CcsslError, 1),
        (-signal.SIGKILL, ResourceError, 4),
        (-11, CcsslError, 139),
    ],
)
def test_a_failure_names_the_command_and_passes_its_code_on(
    tmp_path, stages, code, kind, exit_code
):
    stages.codes["a"] = code
    with pytest.raises(kind, match=r"^\[2/3\] a \(ccssl_tf\.train\): ") as error:
        pipeline.run_all(make_plan(tmp_path), tmp_path)
    assert error.value.exit_code == exit_code
    assert stages.ran == ["data", "a"]


def test_seeds_run_the_list_each_in_its_directory_and_report_over_all():
    templates = [*TEMPLATES, "ccssl_tf.report --runs={workdir} --output_dir={workdir}/report"]
    commands = make_plan("w", templates, seeds=[0, 5])
    assert [str(command.directory) for command in commands] == [
        *(f"w/seed{seed}/{name}" for seed in (0, 5) for name in ("data", "a", "b", "report")),
        "w/report",
    ]
    assert commands[5].flag("seed") == "5"
    assert commands[-1].line == ["ccssl_tf.report", "--runs=w", "--output_dir=w/report"]


def test_a_report_on_the_paper_is_one_over_all_seeds_too(capsys):
    report = "ccssl_tf.report --paper --runs={workdir} --output_dir={workdir}/report"
    commands = make_plan("w", [*TEMPLATES, report], seeds=[0, 5])
    assert commands[-1].line == ["ccssl_tf.report", "--paper", "--runs=w", "--output_dir=w/report"]
    pipeline._print_outcome(commands)
    assert capsys.readouterr().out == ""


def test_the_end_says_what_was_found_and_what_comes_next(tmp_path, capsys):
    templates = [
        "ccssl_tf.export --run={workdir}/student --output_dir={workdir}/export",
        "ccssl_tf.report --runs={workdir} --output_dir={workdir}/report",
    ]
    commands = make_plan(tmp_path, templates)
    (tmp_path / "report").mkdir()
    summary = dict(probes={}, evaluations={}, transfers=[], verdicts=["It is better."])
    (tmp_path / "report/summary.json").write_text(json.dumps(summary))
    pipeline._print_outcome(commands)
    assert capsys.readouterr().out.split("\n", 2)[2].splitlines() == [
        "It is better.",
        "",
        f"report   {tmp_path}/report/index.html",
        f"curves   tensorboard --logdir={tmp_path}",
        f"network  {tmp_path}/export: export.json says what goes in and comes out",
        f"next     python -m ccssl_tf.predict --run={tmp_path}/student --source=PHOTOS "
        f"--workdir={tmp_path}/predictions",
    ]


def test_a_sweep_runs_shared_stages_once_also_for_each_of_several_seeds(tmp_path, stages):
    templates = [*TEMPLATES, "ccssl_tf.report --runs={workdir} --output_dir={workdir}/report"]
    commands = make_plan("w", templates, seeds=[0, 5], sweep="a:task=context,rotation")
    own = ("task_context/a", "task_context/b", "task_rotation/a", "task_rotation/b")
    assert [str(command.directory) for command in commands] == [
        *(f"w/seed{seed}/{name}" for seed in (0, 5) for name in ("data", *own, "report")),
        "w/report",
    ]
    pipeline.run_all(make_plan(tmp_path, sweep="a:image_size=64,32"), tmp_path)
    pipeline.run_all(make_plan(tmp_path, sweep="a:image_size=64,32,16"), tmp_path)
    assert stages.ran == ["data", "a", "b", "a", "b", "a", "b"], (
        "a longer list adds to what is there"
    )


def test_plans_that_cannot_be_right_are_refused():
    with pytest.raises(InputError, match="no commands"):
        make_plan("w", [])
    with pytest.raises(InputError, match="two commands of the pipeline write there"):
        make_plan("w", [TEMPLATES[0], f"{TEMPLATES[0]} --num_val=1"])
    with pytest.raises(InputError, match="no command of this pipeline has --clusters"):
        make_plan("w", settings=["clusters=3"])


def test_a_stage_in_use_is_waited_for_and_not_moved(tmp_path, stages, monkeypatch):
    pipeline.run_all(make_plan(tmp_path), tmp_path)
    monkeypatch.setattr(stages_lib, "_LOCK_PATIENCE", 0.1)
    with locked(tmp_path / "a"), pytest.raises(InputError, match="in use by process"):
        pipeline.run_all(make_plan(tmp_path, seed=1), tmp_path)
    assert not (tmp_path / "a.old-1").exists()


def run_pipeline(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "ccssl_tf.pipeline", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        **options,
    )


def test_the_real_thing_draws_pictures_skips_them_and_names_a_failure(tmp_path):
    arguments = (
        f"--workdir={tmp_path}/w",
        "--command=data_prep.shapes --output_dir={workdir}/data --num_train=12 --num_val=4 "
        "--num_workers=1 --seed={seed}",
        "--command=ccssl_tf.report --runs={workdir}/data --output_dir={workdir}/report",
        "--command=ccssl_tf.report --runs={workdir}/nothing --output_dir={workdir}/never",
    )
    first = run_pipeline(*arguments)
    assert first.returncode == 2
    assert "--runs=" in first.stderr
    assert first.stderr.splitlines()[-1] == (
        "error: [3/3] never (ccssl_tf.report): exit code 2; its message is above, its command in "
        "commands.txt"
    )
    written = (tmp_path / "w/commands.txt").read_text()
    assert f"\n# [3/3] never - report on {tmp_path}/w/nothing\n" in written
    assert f"\npython -m ccssl_tf.report --runs={tmp_path}/w/nothing --output_dir=" in written
    assert (tmp_path / "w/report/index.html").is_file()
    second = run_pipeline(*arguments[:-1])
    assert second.returncode == 0, second.stderr
    assert "[1/2] data - prepare images with data_prep.shapes: done already" in second.stdout
    *_, report, curves = second.stdout.splitlines()
    assert report.startswith("report ") and report.endswith("report/index.html")
    assert curves.startswith("curves ") and "tensorboard --logdir=" in curves
    before = sorted(path.name for path in (tmp_path / "w").iterdir())
    dry = run_pipeline(*arguments[:-1], "--set=num_train=13", "--dry_run")
    assert dry.returncode == 0 and "would run, the old one kept aside" in dry.stdout
    assert sorted(path.name for path in (tmp_path / "w").iterdir()) == before


@pytest.mark.parametrize("extra", [[], ["--dry_run"]])
def test_a_misspelt_flag_is_refused_before_anything_runs(tmp_path, extra):
    found = run_pipeline(
        *extra,
        f"--workdir={tmp_path}/w",
        "--command=data_prep.shapes --output_dir={workdir}/data",
        "--command=ccssl_tf.report --runs={workdir} --output_dir={workdir}/r --num_trian=3",
    )
    assert found.returncode == 2 and "num_trian" in found.stderr and found.stderr.count("\n") == 1
    assert not (tmp_path / "w").exists()


def test_a_file_is_no_workdir(tmp_path):
    (tmp_path / "w").write_text("text")
    found = run_pipeline(
        f"--workdir={tmp_path}/w", "--command=data_prep.shapes --output_dir={workdir}/data"
    )
    assert (
        found.returncode == 2
        and found.stderr == f"error: {tmp_path}/w: is a file; name a directory\n"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_child_and_end_with_75(tmp_path, number):
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "ccssl_tf.pipeline",
            f"--workdir={tmp_path}/w",
            "--command=data_prep.shapes --output_dir={workdir}/data --num_train=200000 --num_val=0 "
            "--num_workers=1",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What a shell starts in the background ignores SIGINT, and hands that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "w/data/run.json").is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == Interrupted.exit_code, errors
    assert errors.splitlines()[-1].startswith("error: interrupted in [1/1] data (data_prep.shapes)")
    with locked(tmp_path / "w/data"):
        pass  # The child has ended and let go.


def test_a_killed_pipeline_takes_its_child_along(tmp_path):
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "ccssl_tf.pipeline",
            f"--workdir={tmp_path}/w",
            "--command=data_prep.shapes --output_dir={workdir}/data --num_train=200000 --num_val=0 "
            "--num_workers=1",
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "w/data/run.json").is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    stages_lib._wait_until_free(tmp_path / "w/data")


def test_help_does_not_import_tensorflow():
    code = (
        "import sys; from ccssl_tf import pipeline, report; sys.exit('tensorflow' in "
        "sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_command_is_a_value():
    assert Stage("a.b", ("--x=1",)).with_flag("x", "2") == Stage("a.b", ("--x=2",))
