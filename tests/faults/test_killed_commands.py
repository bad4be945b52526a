"""Commands killed while they work and started again end as if undisturbed: the evaluations by Fast
R-CNN and FCN, the export, the report.

What else is killed: training in `training/test_loop.py`, extraction and clustering in
`clustering/test_killed_stages.py`, conversions in `data_prep/test_conversion.py`, proposals in
`data_prep/test_proposals.py`.
"""

import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest
from conftest import CLASS_NAMES
from trained_runs import make_run

pytestmark = pytest.mark.slow
ROOT = pathlib.Path(__file__).parents[2]
SMALL = ("--width_multiplier=0.05", "--train_steps=12", "--checkpoint_steps=3", "--log_steps=1")
TASKS = {
    "fcn": ("--fc_units=8,8", "--batch_size=4"),
    "fast_rcnn": (
        *("--fc_units=16,16", "--detection_scales=48", "--detection_max_side=100"),
        *("--detection_test_scale=48", "--detection_test_max_side=100", "--batch_size=2"),
    ),
}


def _start(*words):
    command = [sys.executable, "-m", *map(str, words)]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _run(*words):
    started = time.monotonic()
    process = _start(*words)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return time.monotonic() - started


def _contents(directory, *patterns):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for pattern in patterns
        for path in sorted(directory.glob(pattern))
    }


def _kill_at_times(words, seconds):
    """Kills a command that takes so long after a half, four fifths and all but the last of it."""
    drawn = random.Random(1)
    for share in (0.5, 0.8, 0.95):
        process = _start(*words)
        time.sleep(seconds * (share + drawn.uniform(0, 0.05)))
        process.send_signal(signal.SIGKILL)
        process.communicate()


@pytest.mark.parametrize("task", TASKS)
def test_an_evaluation_killed_in_training_and_between(task, request, tmp_path):
    if task == "fcn":
        inputs = [f"--data_dir={request.getfixturevalue('mask_dir')}"]
    else:
        objects = request.getfixturevalue("objects_dir")
        inputs = [f"--data_dir={objects / 'images'}", f"--proposals_dir={objects / 'proposals'}"]
    words = ["ccssl_tf.train", f"--task={task}", *inputs, *SMALL, *TASKS[task]]
    seconds = _run(*words, f"--workdir={tmp_path / 'straight'}")
    _kill_at_times((*words, f"--workdir={tmp_path / 'killed'}"), seconds)
    _run(*words, f"--workdir={tmp_path / 'killed'}")
    straight, killed = (
        _contents(tmp_path / name, "metrics.json*", "backbone.json")
        for name in ("straight", "killed")
    )
    assert len(straight) > 1 and killed == straight


def _kill_and_finish(words, output, undisturbed, seconds):
    words = (*words, f"--output_dir={output}")
    _kill_at_times(words, seconds)
    _run(*words)
    names = [
        {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
        for root in (undisturbed, output)
    ]
    assert names[0] == names[1]


def test_an_export(tmp_path):
    make_run(tmp_path / "run", classes=len(CLASS_NAMES), width_multiplier=0.05)
    words = ["ccssl_tf.export", f"--run={tmp_path / 'run'}"]
    seconds = _run(*words, f"--output_dir={tmp_path / 'straight'}")
    _kill_and_finish(words, tmp_path / "killed", tmp_path / "straight", seconds)


def test_a_report(runs):
    runs.method()
    words = ["ccssl_tf.report", f"--runs={runs.root}"]
    straight, killed = (runs.root.parent / f"{runs.root.name}-{name}" for name in "ab")
    seconds = _run(*words, f"--output_dir={straight}")
    _kill_and_finish(words, killed, straight, seconds)
    assert _contents(straight, "*.html", "*.json") == _contents(killed, "*.html", "*.json")
