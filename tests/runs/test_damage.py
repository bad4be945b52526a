"""Whatever a reader raises becomes one line of ours; what the system and this project say stays."""

import errno
import zipfile

import pytest

from ccssl_tf.runs.damage import reason_of, told_as_damage
from ccssl_tf.runs.errors import CorruptArtifactError, InputError


@pytest.mark.parametrize(
    "raised",
    [OSError("cut"), OSError(errno.EINVAL, "seek"), SyntaxError("a\nb"), zipfile.BadZipFile("crc")]
    + [ModuleNotFoundError("torch"), KeyError("x"), RecursionError(), AssertionError()],
)
def test_anything_is_one_line(raised):
    with (
        pytest.raises(CorruptArtifactError, match=r"^a.npz: damaged \(.+\); fetch it$") as told,
        told_as_damage("a.npz", "damaged", "fetch it"),
    ):
        raise raised
    assert "\n" not in str(told.value) and told.value.__cause__ is raised


@pytest.mark.parametrize(
    "raised", [OSError(errno.ENOSPC, "full"), MemoryError(), InputError("a"), KeyboardInterrupt()]
)
def test_what_is_not_of_the_content_stays(raised):
    with pytest.raises(type(raised)) as caught, told_as_damage("a", "b", "c"):
        raise raised
    assert caught.value is raised


def test_another_class_may_be_asked_for():
    with (
        pytest.raises(InputError, match="a: b .KeyError.; c"),
        told_as_damage("a", "b", "c", InputError),
    ):
        raise KeyError


def test_errors_of_others_in_a_line():
    assert reason_of(ValueError("\n one\ntwo")) == "one"
    assert reason_of(KeyError()) == "KeyError"
    assert len(reason_of(ValueError("x" * 999))) == 200
