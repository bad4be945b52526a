"""Every error of the system has one of the documented exit codes and is a ValueError."""

import inspect

import pytest

from ccssl_tf.runs import errors

CODES = dict(
    CcsslError=2, FlagError=1, InputError=2, CorruptArtifactError=3, ResourceError=4, Interrupted=75
)


def test_all_errors_have_a_documented_code():
    found = {
        name: value.exit_code for name, value in vars(errors).items() if inspect.isclass(value)
    }
    assert found == CODES


@pytest.mark.parametrize("name", CODES)
def test_a_library_user_may_catch_value_errors(name):
    with pytest.raises(ValueError, match="a line"):
        raise getattr(errors, name)("a line")
