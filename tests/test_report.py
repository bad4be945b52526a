"""The report command writes a page, figures and a summary, and refuses what it cannot use."""

import json
import pathlib
import subprocess
import sys

import pytest

from ccssl_tf import report
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.runs.errors import InputError

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run_report(*arguments):
    command = [sys.executable, "-m", "ccssl_tf.report", *arguments]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_command_writes_page_figures_and_summary_the_same_each_time(runs):
    runs.method()
    (runs.root / "clusters/nearest.json").write_text(
        json.dumps(dict(train=[dict(cluster=0, size=4, nearest=[])]))
    )
    output = runs.root / "report"
    contents = []
    for _ in range(2):
        done = run_report(f"--runs={runs.root}", f"--output_dir={output}")
        assert done.returncode == 0, done.stderr
        contents.append({path.name: path.read_bytes() for path in output.iterdir()})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {
        "index.html",
        "summary.json",
        "probes_linear_probe.png",
        "curves_jigsaw_pp.png",
        "students_cc.png",
        "sizes_clusters.png",
        "conv1_filters.png",
        "nearest_images_clusters.png",
    }
    assert (
        json.loads(contents[0]["summary.json"])["probes"]["linear_probe"]["networks"][0]["network"]
        == "random"
    )
    assert done.stdout.rstrip().endswith(f"report: {output}/index.html")
    assert "CC+Jigsaw++   28.0   31.0   36.0   36.0   34.0" in done.stdout


def test_dry_run_lists_the_runs_and_writes_nothing(runs):
    runs.method()
    done = run_report(f"--runs={runs.root}", f"--output_dir={runs.root}/report", "--dry_run")
    assert done.returncode == 0 and "jigsaw_pp: ccssl_tf.train" in done.stdout
    assert not (runs.root / "report").exists()


def test_wrong_directories_end_with_2(runs, tmp_path):
    runs.method()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("do not overwrite")
    for arguments, message in (
        ((f"--runs={tmp_path}/nothing", f"--output_dir={tmp_path}/r"), "no such directory"),
        (
            (f"--runs={runs.root}", f"--output_dir={tmp_path}/mine"),
            "already holds something that is no report",
        ),
    ):
        done = run_report(*arguments)
        assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


def test_a_summary_is_a_reference_and_other_files_are_not(runs, tmp_path):
    runs.method()
    summary = report.write_report(RunSet(runs.root), tmp_path / "report")
    assert report.read_reference(tmp_path / "report/summary.json") == json.loads(
        json.dumps(summary)
    )
    assert report.read_reference(None) is None
    (tmp_path / "other.json").write_text('{"schema_version": 0}')
    for name in ("other.json", "absent.json"):
        with pytest.raises(InputError, match=name):
            report.read_reference(tmp_path / name)


def test_runs_of_any_kind_make_a_report(runs, tmp_path):
    runs.add("data", "data_prep.shapes --output_dir=data", output="manifest.json")
    report.write_report(RunSet(runs.root), tmp_path / "report")
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"index.html", "summary.json"}
