"""Settings as frozen dataclasses, and the same as flags of one command, both ways.

A field of a settings class says all there is to know of one setting, once: its type, default, help,
unit, bounds and the paper's value. A notebook makes the object from plain arguments; a command
defines a flag of the field's name for each field and makes the object from what was given:

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class HogSettings(Settings):
        \"\"\"Bags of HOG words.\"\"\"

        hog_cell: int = setting(8, "Side of a HOG cell.", unit="pixels", minimum=1, paper=8)

    HogSettings(hog_cell=4)                                      # a FlagError where it cannot be
    values.read([HogSettings], ["--hog_cell=4"])[HogSettings].hog_cell  # 4

Fields are int, float, bool, str, tuples of all but bool (`tuple[int, ...]`, written with commas)
or, with `| None`, unset. Two classes may share a field by inheriting it from one class that defines
it.
"""

import dataclasses
import typing
from collections.abc import Mapping

from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.fields import Field, as_text, make_field, setting

_T = typing.TypeVar("_T")
_SettingsT = typing.TypeVar("_SettingsT", bound="Settings")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of all settings: checks itself when it is made.

    Raises (when made):
      FlagError: a value is of another type, out of its bounds, none of the choices, or does not go
        with another; the message begins with the flag.
    """

    def __post_init__(self):
        for field in fields_of(type(self)):
            value = getattr(self, field.name)
            if wrong := field.check(value):
                shown = "" if value is None else f"={as_text(value)}"
                raise FlagError(f"--{field.name}{shown}: {wrong}")
        self.check()

    def check(self):
        """Raises FlagError where values do not go together; a subclass says which."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CommandSettings(Settings):
    """Flags of every command."""

    dry_run: bool = setting(
        False, "Check the flags and inputs, print what would be read, written and spent, and stop."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeedSettings(Settings):
    """What is random."""

    seed: int = setting(0, "Seed of everything random.", minimum=0, maximum=2**31 - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkdirSettings(Settings):
    """Where a stage writes."""

    workdir: str | None = setting(
        None, "Directory this command writes into; a killed run continues there."
    )

    def required_workdir(self) -> str:
        """Returns the directory; raises FlagError where there is none, before any long work."""
        if not self.workdir:
            raise FlagError("--workdir: not given; name the directory this run writes into")
        return self.workdir


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputSettings(Settings):
    """Where a command writes."""

    output_dir: str | None = setting(
        None, "Directory this command writes into, made if absent; a killed run continues there."
    )


_FIELDS: dict[type, tuple[Field, ...]] = {}


def fields_of(cls: type[Settings]) -> tuple[Field, ...]:
    """Returns the fields of a settings class, in the order of their definition."""
    if cls not in _FIELDS:
        hints = typing.get_type_hints(cls)
        _FIELDS[cls] = tuple(
            make_field(field.name, hints[field.name], field.default, field.metadata["facts"])
            for field in dataclasses.fields(cls)
        )
    return _FIELDS[cls]


def whole_or_fields(
    cls: type[_SettingsT], whole: _SettingsT | None, fields: Mapping[str, typing.Any]
) -> _SettingsT:
    """Returns `whole`, or, where it is None, the settings made of `fields`.

    Raises:
      TypeError: both are given, `whole` is of another class, or a field is not one of the class.
    """
    if whole is None:
        return cls(**fields)
    if fields or not isinstance(whole, cls):
        raise TypeError(f"expected {cls.__name__} or its fields, not {whole!r} and {fields}")
    return whole


def lookup(table: Mapping[str, _T], name: str, flag: str) -> _T:
    """Returns table[name]; raises FlagError that names the flag and the choices."""
    if name not in table:
        raise FlagError(f"--{flag}={name}: unknown; there are {', '.join(sorted(table))}")
    return table[name]
