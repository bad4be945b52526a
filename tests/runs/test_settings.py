"""Settings check themselves, are frozen, and are given whole or by their fields."""

import dataclasses

import pytest

from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.fields import setting
from ccssl_tf.runs.settings import (
    SeedSettings,
    Settings,
    WorkdirSettings,
    lookup,
    whole_or_fields,
)
from ccssl_tf.runs.values import read


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample(SeedSettings, WorkdirSettings):
    """A sample."""

    size: int = setting(3, "Side of a cell.", minimum=1, maximum=9)


def test_settings_are_frozen_and_replaced_ones_are_checked():
    sample = Sample()
    with pytest.raises(dataclasses.FrozenInstanceError):
        sample.size = 4
    with pytest.raises(FlagError, match="^--size=10: "):
        dataclasses.replace(sample, size=10)
    with pytest.raises(TypeError, match="positional"):
        Sample(4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range(Settings):
    """From and to."""

    first: int = setting(0, "From.")
    last: int = setting(9, "To.")

    def check(self):
        super().check()
        if self.first > self.last:
            raise FlagError(f"--first={self.first}: is after --last={self.last}")


def test_a_class_checks_fields_against_each_other_after_each_alone():
    assert read([Range], ["--first=9"])[Range] == Range(first=9)
    with pytest.raises(FlagError, match="^--first=10: is after --last=9$"):
        read([Range], ["--first=10"])
    with pytest.raises(FlagError, match="^--last=None: expected int|^--last: needs a value$"):
        Range(first=3, last=None)


def test_whole_settings_or_their_fields():
    assert whole_or_fields(Range, None, dict(first=1)) == Range(first=1)
    whole = Range(last=3)
    assert whole_or_fields(Range, whole, {}) is whole
    for given, fields in ((whole, dict(first=1)), (Sample(), {})):
        with pytest.raises(TypeError, match="expected Range or its fields"):
            whole_or_fields(Range, given, fields)


def test_lookup_names_the_flag_and_the_choices():
    assert lookup(dict(a=1, b=2), "b", "task") == 2
    with pytest.raises(FlagError, match="^--task=c: unknown; there are a, b$"):
        lookup(dict(b=2, a=1), "c", "task")
