"""Outcomes are read as they were packed; damaged files are told in one line."""

import numpy as np
import pytest
from paper_measurements import write_outcomes

from ccssl_tf.data.outcomes import Outcomes, check_against, read_outcomes
from ccssl_tf.runs.errors import CorruptArtifactError


@pytest.mark.parametrize("count", [1, 8, 9, 1003])
def test_what_was_packed_is_read(tmp_path, count):
    correct = np.random.default_rng(count).uniform(size=(2, count)) < 0.3
    write_outcomes(tmp_path, dict(conv1=correct[0], conv5_3=correct[1]))
    outcomes = read_outcomes(tmp_path)
    assert outcomes.count == count and list(outcomes.packed) == ["conv1", "conv5_3"]
    assert (outcomes.correct("conv1") == correct[0]).all()
    assert (outcomes.correct("conv5_3") == correct[1]).all()
    with pytest.raises(KeyError):
        outcomes.correct("conv2")


def test_there_need_not_be_any(tmp_path):
    assert read_outcomes(tmp_path) is None


def damage(tmp_path, kind):
    path, right = tmp_path / "outcomes.npz", np.ones(20, bool)
    if kind == "text":
        path.write_text("no archive")
    elif kind == "empty":
        path.touch()
    elif kind == "one array":
        with path.open("wb") as file:
            np.save(file, right)
    elif kind == "program":
        np.savez(path, count=np.int64(20), conv1=np.array([print], object))
    elif kind == "no count":
        np.savez(path, conv1=np.packbits(right))
    else:
        more = {
            "count of another kind": dict(count=np.float64(20)),
            "several counts": dict(count=np.array([20, 20])),
            "count of none": dict(count=np.int64(0)),
            "too few bytes": dict(conv2=np.packbits(right[:9])),
            "not packed": dict(conv2=right),
        }.get(kind, {})
        write_outcomes(tmp_path, dict(conv1=right), **more)
        if kind == "cut":
            path.write_bytes(path.read_bytes()[:-60])
        if kind == "another byte":
            contents = bytearray(path.read_bytes())
            contents[contents.index(b"NUMPY") + 130] ^= 1
            path.write_bytes(contents)


@pytest.mark.parametrize(
    "kind",
    ["text", "empty", "one array", "program", "no count", "count of another kind", "cut"]
    + ["several counts", "count of none", "too few bytes", "not packed", "another byte"],
)
def test_damaged_files_are_told(tmp_path, kind):
    damage(tmp_path, kind)
    with pytest.raises(CorruptArtifactError, match=r"outcomes\.npz: (holds no|.*damaged)") as told:
        read_outcomes(tmp_path)
    assert "\n" not in str(told.value) and "run the evaluation again" in str(told.value)


def test_outcomes_are_those_of_the_metrics():
    outcomes = Outcomes(4, {"conv1": bytes([0b11100000]), "conv9": bytes([0])})
    check_against(outcomes, {"evaluation.accuracy/conv1": 0.75 + 1e-6}, "run")
    with pytest.raises(CorruptArtifactError, match="3 of 4 answers of conv1 are right, where"):
        check_against(outcomes, {"evaluation.accuracy/conv1": 0.5}, "run")
