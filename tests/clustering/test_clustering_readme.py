"""What this room's README shows runs, and the flags it names exist."""

import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest
from clustering.rows.test_sources import write_features

import ccssl_tf.clustering
from ccssl_tf.clustering import clusters_csv, write_pseudo_labels
from ccssl_tf.clustering.pseudo_labels import PseudoLabels, margins
from ccssl_tf.clustering.stage_settings import ClusteringSettings
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.knowledge_transfer.cluster_classification import ClusterClassificationSettings
from ccssl_tf.runs.settings import fields_of

README = (pathlib.Path(ccssl_tf.clustering.__file__).parent / "README.md").read_text()


@pytest.fixture
def runs(image_dir, tmp_path, monkeypatch):
    """The paths that the README names, in the working directory; the labels of `runs/clusters`."""
    monkeypatch.chdir(tmp_path)
    features = np.random.default_rng(1).normal(size=[300, 64]).astype(np.float32)
    np.save("features.npy", features)
    pathlib.Path("runs", "clusters").mkdir(parents=True)
    write_features(tmp_path / "runs" / "features", features, [200, 100])
    (tmp_path / "runs" / "data").symlink_to(image_dir)
    nearest = (np.arange(2, dtype=np.int32) + np.arange(48)[:, None]) % 20
    lengths = np.tile(np.float32([1, 1.5]), [48, 1])
    names = [b"%d, a.jpg" % number for number in range(48)]
    fingerprint = Manifest.read(image_dir, "images").fingerprint("train")
    labels = PseudoLabels(
        fingerprint, np.arange(48), nearest[:, 0], lengths[:, 0], names, nearest, lengths
    )
    write_pseudo_labels("runs/clusters", dict(train=labels), num_clusters=20)
    return labels


def test_the_snippets_run_one_after_the_other(runs, capsys):
    names = {}
    for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(code, "README.md", "exec"), names)
    assert names["numbers"].shape == (5000, 5)
    assert names["labels"].tolist() == runs.labels.tolist()
    assert (names["distances"] <= 0.5).all()
    assert "[0.5 0.5 0.5]" in capsys.readouterr().out


def test_which_photos_are_in_a_cluster(runs):
    (command,) = re.findall(r"^    (awk .*)$", README, re.MULTILINE)
    if not shutil.which("awk"):
        pytest.skip("no awk")
    of_split = margins(runs.nearest_distances)
    clusters_csv.write("runs/clusters", dict(train=runs), dict(train=of_split))
    found = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout
    assert found == '"17, a.jpg",train,17,17,1,0.5\n"37, a.jpg",train,37,17,1,0.5\n'


def test_flags_and_files_exist_and_it_is_short():
    known = {
        field.name
        for settings in (ClusteringSettings, ClusterClassificationSettings)
        for field in fields_of(settings)
    }
    named = set(re.findall(r"--(\w+)", README))
    assert named - known <= {"workdir", "dry_run", "help", "strategy", "task"}
    assert {"num_nearest", "max_cluster_share", "near_duplicates", "min_margin"} <= named
    assert len(README.splitlines()) < 150
