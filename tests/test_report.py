"""The report command writes a page, figures and a summary, and refuses what it cannot use."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from ccssl_tf import report
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.launch import run_command

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
        "method.webp",
    }
    assert (
        json.loads(contents[0]["summary.json"])["probes"]["linear_probe"]["networks"][0]["network"]
        == "random"
    )
    assert done.stdout.rstrip().endswith(f"report: {output}/index.html")
    assert "CC+Jigsaw++   28.0   31.0   36.0   36.0   34.0" in done.stdout


def test_what_cannot_be_read_is_named_and_the_rest_reported(runs, capsys):
    """Damaged records, numbers and pictures; a run whose folder has a name that is not UTF-8."""
    for seed in range(4):
        runs.method(f"seed{seed}/", seed=seed)
    root = runs.root
    (root / "seed1/cc/run.json").write_bytes(b"\xff\xfe")
    (root / "seed2/cc/metrics.json").write_text("[" * 100_000)
    (root / "seed2/probe_cc/metrics.json").write_text('{"history": {"train": 3}}')
    picture = root / "seed0/clusters/pictures/nearest_images.png"
    content = bytearray(picture.read_bytes())
    content[len(content) // 2] ^= 1
    picture.write_bytes(content)
    (root / "seed3").rename(os.fsdecode(os.fsencode(root) + b"/seed\xff"))
    words = [f"--runs={root}", f"--output_dir={root}/report"]
    assert run_command(report.COMMAND, report.main, words) == 0
    told = capsys.readouterr().out
    page = (root / "report/index.html").read_text("utf-8")
    for name, fault in {
        "seed1/cc/run.json": "damaged",
        "seed2/cc/metrics.json": "damaged (nested too deeply)",
        "seed2/probe_cc/metrics.json": "damaged (history.train holds 3 instead of a list)",
        "seed0/clusters/pictures/nearest_images.png": "is no PNG",
    }.items():
        line = f"{root}/{name}: {fault}"
        assert f"warning: left out: {line}" in told and line in page
    summary = json.loads((root / "report/summary.json").read_text())
    shown = [name for entry in summary["transfers"] for name in entry["runs"]]
    assert shown == ["seed0/cc", r"seed\xff/cc"]


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


def write_paper_runs(runs):
    """Writes the linear probes of two networks and seeds with their answers, and a student."""
    for seed in (0, 1):
        for network, share in dict(random=0.25, jigsaw_pp=0.32).items():
            name = f"seed{seed}/imagenet_probe/{network}"
            correct = np.arange(400) < 400 * (share + 0.01 * seed)
            runs.probe(name, [correct.mean()] * 5, seed=seed)
            layers = {f"conv{number}": np.packbits(correct) for number in range(1, 6)}
            np.savez(runs.root / name / "outcomes.npz", count=np.int64(400), **layers)
        runs.add(
            f"seed{seed}/train/cc_random",
            "ccssl_tf.train --task=cluster_classification",
            flags=dict(seed=str(seed)),
            metrics=dict(evaluation=dict(accuracy=0.38)),
        )


def test_the_papers_tables_are_made_of_runs_and_again_of_what_was_collected(runs, tmp_path):
    write_paper_runs(runs)
    collected = tmp_path / "new/measured.json"
    done = run_report("--paper", f"--runs={runs.root}", f"--collect={collected}")
    assert done.returncode == 0, done.stderr
    assert "6 finished runs" in done.stdout and "3. Pretext learning helps: held" in done.stdout
    assert done.stdout.rstrip().endswith(f"report: {runs.root}/paper_report/paper.html")
    again = run_report("--paper", f"--metrics={collected}", f"--output_dir={tmp_path}/again")
    assert again.returncode == 0, again.stderr
    for name in ("paper.html", "paper.csv", "paper.tex"):
        first, second = runs.root / "paper_report" / name, tmp_path / "again" / name
        assert first.read_bytes() == second.read_bytes()
    assert str(tmp_path) not in collected.read_text()
    page = (tmp_path / "again/paper.html").read_text()
    assert "difference +7.0, spread 0.71 of 2 seeds, 95% +" in page
    # The report itself is no run; a second one replaces the first.
    assert run_report("--paper", f"--runs={runs.root}").stdout == done.stdout.replace(
        f"measurements of 6 runs: {collected}\n", ""
    )


def test_collecting_alone_writes_no_page_and_a_dry_run_nothing(runs, tmp_path):
    write_paper_runs(runs)
    done = run_report(f"--runs={runs.root}", f"--collect={tmp_path}/a.json", "--paper", "--dry_run")
    assert done.returncode == 0 and "would write" in done.stdout
    assert "imagenet_probe/jigsaw_pp, imagenet_probe/random, train/cc_random" in done.stdout
    assert not (tmp_path / "a.json").exists() and not (runs.root / "paper_report").exists()
    assert run_report(f"--runs={runs.root}", f"--collect={tmp_path}/a.json").returncode == 0
    assert (tmp_path / "a.json").is_file() and not (runs.root / "paper_report").exists()


@pytest.mark.parametrize(
    ("damaged", "contents", "message"),
    [
        ("outcomes.npz", b"PK\x03\x04 cut", "outcomes.npz: holds no outcomes"),
        ("metrics.json", b"{", "metrics.json: damaged"),
    ],
)
def test_damaged_runs_of_the_paper_end_with_3(runs, damaged, contents, message):
    write_paper_runs(runs)
    (runs.root / "seed1/imagenet_probe/random" / damaged).write_bytes(contents)
    done = run_report("--paper", f"--runs={runs.root}")
    assert done.returncode == 3 and message in done.stderr and done.stderr.count("\n") == 1


def test_what_cannot_be_a_report_of_the_paper_is_told_in_one_line(runs, tmp_path):
    runs.method()
    (tmp_path / "thesis.txt").write_text("do not overwrite")
    root, file = f"--runs={runs.root}", f"--metrics={tmp_path}/thesis.txt"
    for code, arguments, message in (
        (1, ("--paper",), "--paper: of what?"),
        (1, (file,), "goes with --paper"),
        (1, (f"--collect={tmp_path}/a.json",), "--runs: not given"),
        (1, (root,), "--output_dir: not given"),
        (1, ("--paper", file), "--output_dir: not given"),
        (1, ("--paper", root, "--reference=a"), "goes without --paper"),
        (1, (root, "--collect=a", "--output_dir=b"), "add --paper"),
        (2, ("--paper", root), "no run of a stage of the paper"),
        (3, ("--paper", file, f"--output_dir={tmp_path}/r"), "(no JSON: "),
        (2, (root, f"--collect={tmp_path}/thesis.txt"), "name another file"),
    ):
        done = run_report(*arguments)
        assert done.returncode == code and message in done.stderr, (arguments, done.stderr)
        assert done.stderr.count("\n") == 1
    assert (tmp_path / "thesis.txt").read_text() == "do not overwrite"


def test_the_colour_of_filters_is_that_of_the_backbone(tmp_path):
    from ccssl_tf.models.alexnet import AlexNet
    from ccssl_tf.models.backbone_file import save_backbone

    backbone = AlexNet(stem="small", width_multiplier=0.1, fc_units=())
    kernel = backbone.convolutions()[0].kernel
    kernel.assign(np.ones(kernel.shape, np.float32))
    save_backbone(backbone, tmp_path)
    assert report._saturation("train/cc_context_color_drop", tmp_path) == pytest.approx(0, abs=1e-9)
    assert report._saturation("train/jigsaw_pp", tmp_path) is None
    assert report._saturation("imagenet_probe/cc_hog", tmp_path) is None
    assert report._saturation("train/cc_hog", tmp_path / "absent") is None
    for nothing in (0, np.nan):
        kernel.assign(np.full(kernel.shape, nothing, np.float32))
        save_backbone(backbone, tmp_path)
        assert report._saturation("train/cc_hog", tmp_path) is None
