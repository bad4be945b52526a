"""One setting: its type, help, unit, bounds and the paper's value; its flag and its text."""

import csv
import dataclasses
import io
import math
import types
import typing
from collections.abc import Sequence

from absl import flags

from ccssl_tf.runs.errors import FlagError

# Bounds of numbers that have none of their own: no setting makes sense beyond.
_LARGEST: dict[type, float] = {int: 2**31 - 1, float: 1e30}
_LARGEST_PIXELS = 2**15
_EXAMPLES = {int: "whole numbers such as 10,6,5", float: "numbers such as 0.5,2", str: "words"}


@dataclasses.dataclass(frozen=True)
class _Facts:
    help: str
    unit: str | None
    paper: object
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...] | None
    repeated: bool
    automatic: str | None
    formerly: tuple[str, ...]


def setting(
    default: typing.Any = dataclasses.MISSING,
    help: str = "",
    *,
    unit: str | None = None,
    paper: object = None,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] | None = None,
    repeated: bool = False,
    automatic: str | None = None,
    formerly: Sequence[str] = (),
) -> typing.Any:
    """Describes a field of a settings class.

    Args:
      default: what it is where it is not given; without one it must be given.
      help: one or two sentences for `--help`, without what the other arguments say.
      unit: of the number, e.g. "pixels".
      paper: the value of the paper the setting is from, where there is one.
      minimum, maximum: bounds of the number, or of every number of a tuple, both allowed; without
        them those of any number of its kind hold, 2^31 - 1, 1e30, or 32,768 pixels.
      choices: the words it may be.
      repeated: whether a tuple is given by several flags instead of commas.
      automatic: what the default None or "auto" stands for, in words.
      formerly: texts that runs of older versions recorded where this was chosen automatically.
    """
    words = None if choices is None else tuple(choices)
    facts = _Facts(help, unit, paper, minimum, maximum, words, repeated, automatic, tuple(formerly))
    return dataclasses.field(default=default, metadata=dict(facts=facts))


@dataclasses.dataclass(frozen=True)
class Field:
    """One setting: its name, which is the flag's, and what `setting` and the annotation say of it.

    Attributes:
      name: of field and flag.
      kind: int, float, bool or str: of the value, or of every item of a tuple.
      is_tuple: whether the value is a tuple.
      is_optional: whether it may be None.
      default: dataclasses.MISSING where it must be given.
      facts: the arguments of `setting`.
    """

    name: str
    kind: type
    is_tuple: bool
    is_optional: bool
    default: object
    facts: _Facts

    @property
    def is_required(self) -> bool:
        """Whether there is no default."""
        return self.default is dataclasses.MISSING

    def is_automatic(self, value) -> bool:
        """Whether `value` leaves the choice to the program."""
        return value is None or (value == "auto" and self.default == "auto")

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest number it may be; every number of a tuple."""
        largest = _LARGEST_PIXELS if self.facts.unit == "pixels" else _LARGEST[self.kind]
        low, high = self.facts.minimum, self.facts.maximum
        return -largest if low is None else low, largest if high is None else high

    def without_texts(self) -> "Field":
        """Returns what two classes that share the field must agree on: not help and default."""
        facts = dataclasses.replace(self.facts, help="", paper=None, automatic=None)
        return dataclasses.replace(self, default=None, facts=facts)

    def is_recorded_default(self, text: str) -> bool:
        """Whether a text that an older version recorded stands for the default."""
        if text == "auto" or text in self.facts.formerly:
            return True
        if self.kind is bool:
            return text == str(self.default).lower()
        try:
            return self.value_of(text.split(",") if self.is_tuple else self.kind(text)) == (
                self.default
            )
        except (FlagError, ValueError):
            return False

    def describe(self) -> str:
        """Returns the help text, with unit, default and the paper's value behind it."""
        known = []
        if self.facts.choices:
            known.append(" or ".join(self.facts.choices))
        if self.facts.unit:
            known.append(self.facts.unit)
        if self.facts.automatic:
            known.append(f"default {self.facts.automatic}")
        elif not (self.is_required or self.default is False or self.default in (None, ())):
            known.append(f"default {as_text(self.default)}")
        if self.facts.paper is not None and self.facts.paper != self.default:
            known.append(f"in the paper {as_text(self.facts.paper)}")
        elif self.facts.paper is not None:
            known[-1:] = [" ".join([*known[-1:], "as in the paper"])]
        if self.facts.repeated:
            known.append("may be repeated")
        return self.facts.help + (f" ({'; '.join(known)})" if known else "")

    def check(self, value) -> str | None:
        """Returns what is wrong with `value`, to follow the flag in a message; None for nothing."""
        if value is None:
            return None if self.is_optional else "needs a value"
        items = value if self.is_tuple else (value,)
        if self.is_tuple and not isinstance(value, tuple):
            return f"must be a tuple, not {value!r}"
        for item in items:
            kinds = (int, float) if self.kind is float else (self.kind,)
            if not isinstance(item, kinds) or (isinstance(item, bool) and self.kind is not bool):
                return f"expected {self.kind.__name__}, not {item!r}"
            if self.kind is not bool and isinstance(item, int | float):
                low, high = self.bounds
                if math.isnan(item):
                    return "must be a number"
                if item < low:
                    return f"must be {low:g} or more"
                if item > high:
                    return f"must be {high:g} or less"
            if self.facts.choices and item not in self.facts.choices:
                return f"must be one of {', '.join(self.facts.choices)}"
        return None

    def define(self, values: flags.FlagValues):
        """Defines the flag; unset until it is given."""
        facts, name = self.facts, self.name
        if self.is_tuple:
            if facts.repeated and facts.choices:
                flags.DEFINE_multi_enum(name, None, facts.choices, facts.help, values)
            elif facts.repeated:
                flags.DEFINE_multi_string(name, None, facts.help, values)
            else:
                flags.DEFINE_list(name, None, facts.help, values)
        elif self.kind is bool:
            flags.DEFINE_bool(name, None, facts.help, values)
        elif self.kind is str and facts.choices:
            flags.DEFINE_enum(name, None, facts.choices, facts.help, values)
        elif self.kind is str:
            flags.DEFINE_string(name, None, facts.help, values)
        elif self.kind is int:
            low, high = map(int, self.bounds)
            flags.DEFINE_integer(name, None, facts.help, low, high, values)
        else:
            flags.DEFINE_float(name, None, facts.help, *self.bounds, values)

    def value_of(self, given):
        """Returns the value of a flag that was given: a list becomes a tuple of the kind.

        Raises:
          FlagError: an item of the list is not of the kind.
        """
        if not self.is_tuple:
            return given
        try:
            return tuple(self.kind(item) for item in given)
        except ValueError as error:
            text = ",".join(given)
            raise FlagError(
                f"--{self.name}={text}: expected {_EXAMPLES[self.kind]}, separated by commas"
            ) from error

    def lines(self, value) -> list[str]:
        """Returns the value as lines of a flagfile; none for None and the empty tuple."""
        if value is None or value == ():
            return []
        if self.kind is bool and not self.is_tuple:
            return [f"--{self.name}" if value else f"--no{self.name}"]
        if self.facts.repeated:
            return [f"--{self.name}={item}" for item in value]
        return [f"--{self.name}={as_text(value)}"]


def as_text(value) -> str:
    """Returns a value as a flag has it: items of a tuple with commas between, quoted as in csv."""
    if not isinstance(value, tuple):
        return str(value)
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([str(item) for item in value])
    return text.getvalue()


def make_field(name: str, hint, default, facts: "_Facts") -> Field:
    """Returns the field of a name, an annotation, a default and what `setting` was given.

    Raises:
      TypeError: an annotation that no setting may have.
    """
    is_optional = isinstance(hint, types.UnionType) and type(None) in typing.get_args(hint)
    if is_optional:
        (hint,) = (part for part in typing.get_args(hint) if part is not type(None))
    is_tuple = typing.get_origin(hint) is tuple
    kind = typing.get_args(hint)[0] if is_tuple else hint
    # Of a tuple of bools no text could be read: bool("False") is True.
    if kind not in (int, float, bool, str) or (is_tuple and kind is bool):
        raise TypeError(f"{name}: settings are int, float, bool, str or tuples, not {hint}")
    return Field(name, kind, is_tuple, is_optional, default, facts)


def read_field(field: Field, lines: Sequence[str]):
    """Returns the value that lines of a flagfile give a field."""
    values = flags.FlagValues()
    field.define(values)
    values(["", *lines])
    return field.value_of(values[field.name].value)
