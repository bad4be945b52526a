"""The command that judges features by nearest neighbours."""

import json

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from ccssl_tf import extract, knn_probe
from ccssl_tf.data.feature_directory import DirectorySource
from ccssl_tf.data.image_facts import read_image_facts
from ccssl_tf.data.outcomes import read_outcomes
from ccssl_tf.runs.launch import run_command


def command(*arguments):
    return run_command(knn_probe.COMMAND, knn_probe.main, list(arguments))


@pytest.fixture(scope="module", name="features")
def extracted(image_dir, tmp_path_factory):
    """Directories of the features of train and val."""
    root, directories = tmp_path_factory.mktemp("features"), {}
    for split in ("train", "val"):
        directories[split] = root / split
        flags = [
            "--extractor=endpoint", "--backbone=alexnet", "--width_multiplier=0.1",
            "--endpoint=conv3", "--pool_grid=2", "--image_size=32", f"--data_dir={image_dir}",
            f"--split={split}", "--seed=1", f"--workdir={directories[split]}",
        ]  # fmt: skip
        assert run_command(extract.COMMAND, extract.main, flags) == 0
    return directories


def flags_of(features, workdir, *more):
    return [
        f"--features_dir={features['train']}", f"--eval_features_dir={features['val']}",
        f"--workdir={workdir}", *more,
    ]  # fmt: skip


def rows_and_labels(directory, image_dir, split):
    source = DirectorySource(directory)
    fingerprint = source.manifest.info["images_fingerprint"]
    labels = read_image_facts(image_dir, split, fingerprint).labels[source.indices()]
    return np.concatenate(list(source.chunks(100))).astype(np.float64), labels


def test_the_accuracy_is_scikit_learns(features, image_dir, tmp_path, capsys):
    flags = flags_of(
        features, tmp_path / "w", "--num_neighbors=5", "--metric=euclidean", "--temperature=0"
    )
    assert command(*flags, "--dry_run") == 0 and not (tmp_path / "w").exists()
    assert command(*flags) == 0
    assert command(*flags) == 0
    assert "already complete" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "w" / "metrics.json").read_text())
    train, val = (rows_and_labels(features[s], image_dir, s) for s in ("train", "val"))
    theirs = KNeighborsClassifier(5, algorithm="brute").fit(*train)
    assert metrics["evaluation"]["accuracy"] == pytest.approx(theirs.score(*val))
    right = read_outcomes(tmp_path / "w").correct("features")
    np.testing.assert_array_equal(right, theirs.predict(val[0]) == val[1])
    assert "5 nearest of the train images, euclidean" in metrics["facts"]["definition"]


def test_few_shots_are_drawn_by_the_seed(features, tmp_path, capsys):
    accuracies = []
    for number, seed in enumerate([0, 0, 1, 2, 3, 4, 5]):
        out = tmp_path / str(number)
        more = "--shots=2", "--num_neighbors=1", f"--seed={seed}"
        assert command(*flags_of(features, out, *more)) == 0
        accuracies.append(read_outcomes(out).correct("features").tolist())
    assert accuracies[0] == accuracies[1]
    assert len({tuple(right) for right in accuracies}) > 1
    assert command(*flags_of(features, tmp_path / "many", "--shots=40")) == 2
    assert "fewer training images of" in capsys.readouterr().err


def test_features_that_do_not_go_together_are_refused(features, image_dir, tmp_path, capsys):
    other = tmp_path / "other"
    flags = ["--extractor=hog", "--hog_cell=4", "--hog_words=4", "--image_size=32",
             f"--data_dir={image_dir}", "--split=train", f"--workdir={other}"]  # fmt: skip
    assert run_command(extract.COMMAND, extract.main, flags) == 0
    mixed = dict(train=other, val=features["val"])
    assert command(*flags_of(mixed, tmp_path / "w", "--num_neighbors=1")) == 2
    assert "extract both alike" in capsys.readouterr().err
    assert command(*flags_of(features, tmp_path / "w", "--num_neighbors=1000")) == 2
    assert "has 48 rows to search" in capsys.readouterr().err
    assert not (tmp_path / "w").exists()
    assert command(*flags_of(features, tmp_path / "w", "--metric=euclidean")) == 1
    assert "add --temperature=0" in capsys.readouterr().err
