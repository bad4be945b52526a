"""Measurements written to a file are read again, whole or not at all."""

import json

import pytest
from paper_measurements import measured, probed

from ccssl_tf.reporting.paper.collection import put_together, read_collection, write_collection
from ccssl_tf.reporting.paper.measurement import measure
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.files import fingerprint_of

VALUES = [0.2, 0.3, 0.31, 0.33, 0.28]


def some():
    return [
        measured("voc07_classification/random", 0.45, seed=1),
        measured("train/cc_hog", 0.4, commit="abc", saturation=0.3, inputs={"a": "clusters/hog"}),
        probed("imagenet_probe/cc_hog", VALUES, count=1003, outcomes=True, flags="f"),
        probed("imagenet_probe/cc_hog", VALUES, count=1003, seed=2),
    ]


def test_what_was_written_is_read_in_order(tmp_path):
    write_collection(tmp_path / "new/a.json", some())
    found = read_collection(tmp_path / "new/a.json")
    assert found == sorted(some(), key=lambda one: (one.stage, one.seed))
    write_collection(tmp_path / "b.json", reversed(some()))
    assert (tmp_path / "b.json").read_bytes() == (tmp_path / "new/a.json").read_bytes()


def test_several_files_are_put_together_and_may_repeat(tmp_path):
    write_collection(tmp_path / "a.json", some()[:2])
    write_collection(tmp_path / "b.json", some()[1:])
    files = [(name, read_collection(tmp_path / name)) for name in ("a.json", "b.json")]
    assert len(put_together(files)) == 4
    other = [measured("train/cc_hog", 0.5)]
    with pytest.raises(InputError, match=r"c\.json: tells of train/cc_hog, seed 0, other than a"):
        put_together([*files, ("c.json", other)])


def test_no_path_of_the_machine_is_in_it(tmp_path, runs, probe_run):
    probe_run("seed1/imagenet_probe/cc_hog", VALUES, outcomes=True, init="seed1/train/cc_hog")
    write_collection(tmp_path / "a.json", measure(RunSet(runs.root)))
    text = (tmp_path / "a.json").read_text()
    assert str(tmp_path) not in text and "/tmp" not in text and "train/cc_hog" in text
    assert read_collection(tmp_path / "a.json") == measure(RunSet(runs.root))


def change(contents, kind):
    entry = contents["measurements"][1]
    if kind == "a number":
        entry["metrics"]["evaluation.accuracy/conv1"] = 0.9
    elif kind == "a digest":
        contents["digest"] = "0" * 64
    else:
        if kind == "no seed":
            del entry["seed"]
        elif kind == "an unknown field":
            entry["secret"] = 1
        elif kind == "bits of fewer images":
            contents["measurements"][0]["count"] = 2000
        elif kind == "no base64":
            contents["measurements"][0]["outcomes"]["conv1"] = "?"
        elif kind == "a list":
            contents["measurements"][0] = [1]
        contents["digest"] = fingerprint_of(contents["measurements"])


@pytest.mark.parametrize(
    "kind",
    ["a number", "a digest", "no seed", "an unknown field", "bits of fewer images"]
    + ["no base64", "a list"],
)
def test_changed_files_are_refused(tmp_path, kind):
    path = tmp_path / "a.json"
    write_collection(path, some())
    contents = json.loads(path.read_text())
    change(contents, kind)
    path.write_text(json.dumps(contents))
    with pytest.raises(CorruptArtifactError, match=r"a\.json: .*; collect it again") as told:
        read_collection(path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("contents", "error", "message"),
    [
        (None, InputError, "no such file"),
        ("{", CorruptArtifactError, "damaged"),
        ("[]", InputError, "holds no measurements"),
        ('{"kind": "other"}', InputError, "holds no measurements"),
        (
            '{"kind": "measurements of the paper\'s experiments", "schema_version": 9}',
            InputError,
            "version 9, not 1",
        ),
    ],
)
def test_other_files_are_refused(tmp_path, contents, error, message):
    path = tmp_path / "other.json"
    if contents is not None:
        path.write_text(contents)
    with pytest.raises(error, match=message):
        read_collection(path)


def test_other_files_are_not_replaced(tmp_path):
    path = tmp_path / "a.json"
    write_collection(path, some())
    path.write_bytes(path.read_bytes()[:2000])
    write_collection(path, some())
    assert len(read_collection(path)) == 4
    (tmp_path / "thesis.txt").write_text("do not overwrite")
    for name, message in (("thesis.txt", "something else"), (".", "is a directory")):
        with pytest.raises(InputError, match=message):
            write_collection(tmp_path / name, some())
