"""Numbers that no setting can be: every number of every command is refused in one line, or is one
that the setting may have.
"""

import importlib
import math

import pytest
from absl import flags

from ccssl_tf import registry
from ccssl_tf.__main__ import MODULES
from ccssl_tf.runs import launch
from ccssl_tf.runs import settings as settings_lib
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.fields import read_field

TRAIN = importlib.import_module("ccssl_tf.train")
VALUES = ["nan", "inf", "-inf", "-1", "0", "1000000000", "1e9", "1e30", "1e300", "-1e300", ""]


def numbers():
    """(Class, field) of every number there is."""
    commands = [importlib.import_module(name).COMMAND for name in MODULES.values()]
    kinds = {kind for command in commands for kind in command.settings}
    kinds |= {kind for command in commands for of in command.owners().values() for kind in of}
    tables = (registry.TASKS, registry.BACKBONES, registry.EXTRACTORS)
    kinds |= {kind.Settings for table in tables for kind in table.values()}
    found = {}
    for kind in kinds:
        for field in settings_lib.fields_of(kind):
            if field.kind in (int, float):
                found[kind.__name__, field.name] = field
    return found


@pytest.mark.parametrize("text", VALUES)
def test_every_number_is_refused_or_may_be(text):
    found = numbers()
    assert len(found) > 100
    for (kind, name), field in found.items():
        try:
            value = read_field(field, [f"--{name}={text}"])
        except (FlagError, flags.Error) as error:
            assert name in str(error), (kind, name)
            continue
        low, high = field.bounds
        if field.check(value) is None:
            items = value if field.is_tuple else (value,)
            assert all(math.isfinite(item) and low <= item <= high for item in items), (kind, name)


def test_the_defaults_are_within_the_bounds():
    for (kind, name), field in numbers().items():
        assert all(map(math.isfinite, field.bounds)), (kind, name)
        if not field.is_required:
            assert field.check(field.default) is None, (kind, name)


@pytest.mark.parametrize(
    "words",
    [
        ("--width_multiplier=nan",),
        ("--width_multiplier=1e9",),
        ("--image_size=1000000000",),
        ("--eval_batch_size=1000000000",),
        ("--learning_rate=nan",),
        ("--fc_units=1000000000",),
        ("--batch_size=",),
    ],
)
def test_commands_say_so_in_one_line(words, capsys):
    given = ["--task=rotation", "--data_dir=nowhere", "--workdir=nowhere", *words]
    assert launch.run_command(TRAIN.COMMAND, TRAIN.main, given) == FlagError.exit_code
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert words[0].partition("=")[0].strip("-") in captured.err


def test_settings_of_a_program_are_held_to_the_same(tmp_path):
    with pytest.raises(FlagError, match="--image_size=1000000000: must be 4096 or less"):
        registry.TASKS["rotation"](data_dir=str(tmp_path), image_size=10**9)
