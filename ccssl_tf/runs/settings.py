"""Settings as frozen dataclasses, and the same as flags of one command, both ways.

A field of a settings class says all there is to know of one setting, once: its type, default, help,
unit, bounds and the paper's value. A notebook makes the object from plain arguments; a command
defines a flag of the field's name for each field and makes the object from what was given:

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class HogSettings(Settings):
        \"\"\"Bags of HOG words.\"\"\"

        hog_cell: int = setting(8, "Side of a HOG cell.", unit="pixels", minimum=1, paper=8)

    HogSettings(hog_cell=4)                                      # a FlagError where it cannot be
    read([HogSettings], ["--hog_cell=4"])[HogSettings].hog_cell  # 4

Fields are int, float, bool, str, tuples of all but bool (`tuple[int, ...]`, written with commas)
or, with `| None`, unset. Two classes may share a field by inheriting it from one class that defines
it.
"""

import csv
import dataclasses
import io
import types
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from absl import flags

from ccssl_tf.runs.errors import FlagError

_T = typing.TypeVar("_T")
_SettingsT = typing.TypeVar("_SettingsT", bound="Settings")

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
      minimum, maximum: bounds of the number, or of every number of a tuple, both allowed.
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
            low, high = self.facts.minimum, self.facts.maximum
            if isinstance(item, int | float):
                # Written so that NaN is refused.
                if low is not None and not item >= low:
                    return f"must be {low:g} or more"
                if high is not None and not item <= high:
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
            low, high = (None if b is None else int(b) for b in (facts.minimum, facts.maximum))
            flags.DEFINE_integer(name, None, facts.help, low, high, values)
        else:
            flags.DEFINE_float(name, None, facts.help, facts.minimum, facts.maximum, values)

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
            _field(field.name, hints[field.name], field.default, field.metadata["facts"])
            for field in dataclasses.fields(cls)
        )
    return _FIELDS[cls]


def _field(name, hint, default, facts):
    is_optional = isinstance(hint, types.UnionType) and type(None) in typing.get_args(hint)
    if is_optional:
        (hint,) = (part for part in typing.get_args(hint) if part is not type(None))
    is_tuple = typing.get_origin(hint) is tuple
    kind = typing.get_args(hint)[0] if is_tuple else hint
    # Of a tuple of bools no text could be read: bool("False") is True.
    if kind not in (int, float, bool, str) or (is_tuple and kind is bool):
        raise TypeError(f"{name}: settings are int, float, bool, str or tuples, not {hint}")
    return Field(name, kind, is_tuple, is_optional, default, facts)


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


class Values:
    """All settings of one run of a command, one object of each class.

    Attributes:
      module: of the command, e.g. "ccssl_tf.train".
      arguments: of the command line; None where a program called the function.
    """

    def __init__(
        self, module: str, groups: Iterable[Settings], arguments: Sequence[str] | None = None
    ):
        self.module, self.arguments = module, None if arguments is None else list(arguments)
        self._groups = {type(group): group for group in groups}
        self._automatic: set[str] = set()

    def __getitem__(self, cls: type[_SettingsT]) -> _SettingsT:
        return typing.cast(_SettingsT, self._groups[cls])

    def __iter__(self) -> Iterator[Settings]:
        return iter(self._groups.values())

    def __contains__(self, cls: object) -> bool:
        return cls in self._groups

    def resolved(self, *groups: Settings) -> "Values":
        """Returns a copy in which these groups, of classes there are, took the others' place.

        What was left to the program and now has a value counts as chosen automatically.
        """
        copy = Values(self.module, self, self.arguments)
        copy._automatic = set(self._automatic)
        for group in groups:
            before = self[type(group)]
            for field in fields_of(type(group)):
                value = getattr(before, field.name)
                if field.is_automatic(value) and value != getattr(group, field.name):
                    copy._automatic.add(field.name)
            copy._groups[type(group)] = group
        return copy

    def without(self, *classes: type[Settings]) -> "Values":
        """Returns a copy without the groups of these classes, such as those of other networks."""
        copy = Values(self.module, (g for g in self if type(g) not in classes), self.arguments)
        copy._automatic = set(self._automatic)
        return copy

    @property
    def by_name(self) -> dict[str, tuple[Field, object]]:
        """Field and value of every setting by its name; of a shared one, those of a group in which
        it is resolved and not at its default, where there is one.
        """
        chosen: dict[str, tuple[Field, object]] = {}
        for group in self:
            for field in fields_of(type(group)):
                value = getattr(group, field.name)
                first, before = chosen.setdefault(field.name, (field, value))
                is_told = not field.is_automatic(value) and value != field.default
                if is_told or first.is_automatic(before):
                    chosen[field.name] = (field, value)
        return chosen

    def lines(self) -> dict[str, list[str]]:
        """The settings as lines of a flagfile by name: what a run records.

        One that two groups share at different defaults is left out: no line would mean both.
        """
        apart = {
            field.name
            for group in self
            for field in fields_of(type(group))
            if not field.is_automatic(value := getattr(group, field.name))
            and value != self.by_name[field.name][1]
        }
        return {
            name: lines
            for name, (field, value) in self.by_name.items()
            if name != "dry_run" and name not in apart and (lines := field.lines(value))
        }

    def beside_defaults(self) -> dict[str, str]:
        """Text of every setting whose value is not the default, by name: what tells runs apart."""
        return {
            name: as_text(value)
            for name, (field, value) in self.by_name.items()
            if name != "dry_run" and value != field.default
        }

    def command(self) -> list[str]:
        """Module and arguments; of a call by a program, those that would do the same."""
        if self.arguments is not None:
            return [self.module, *self.arguments]
        told = self.beside_defaults()
        return [
            self.module,
            *(line for name, of in self.lines().items() if name in told for line in of),
        ]

    def difference(
        self, recorded: Sequence[str], *, is_resolved: bool, ignored: Collection[str] = ()
    ) -> tuple[str, str, str] | None:
        """Compares with the lines of another run's flagfile.

        Args:
          recorded: lines; those of settings that this command does not have here do not count.
          is_resolved: whether what was chosen automatically was recorded as the value that ran; in
            runs of older versions it was not.
          ignored: names of settings that may differ.

        Returns:
          Name, lines there and lines here, "" for unset, of the first setting that differs; None
          where all agree.
        """
        theirs = _recorded_lines(recorded, self.by_name)
        for name, (field, value) in self.by_name.items():
            if name in ignored or name == "dry_run":
                continue
            before = theirs.get(name)
            if before is None:
                # Unset there, too, or a setting that the other version did not have.
                agrees = (
                    value in (None, ())
                    or (field.default not in (None, ()) and (value == field.default))
                    or name in self._automatic
                )
            else:
                was_automatic = name in self._automatic and _was_automatic(field, before)
                agrees = _same(field, value, before) or (was_automatic and not is_resolved)
            if not agrees:
                return name, " ".join(before or []), " ".join(field.lines(value))
        return None


def _recorded_lines(recorded, by_name):
    theirs: dict[str, list[str]] = {}
    for line in recorded:
        name = line.lstrip("-").partition("=")[0]
        if "=" not in line and name not in by_name and name.removeprefix("no") in by_name:
            name = name.removeprefix("no")
        theirs.setdefault(name, []).append(line)
    return theirs


def _same(field, value, lines):
    try:
        return value == read_field(field, lines)
    except (FlagError, flags.Error):
        return False


def _was_automatic(field, lines):
    texts = {line.partition("=")[2] for line in lines}
    return texts <= {"auto", *field.facts.formerly}


def read_field(field: Field, lines: Sequence[str]):
    """Returns the value that lines of a flagfile give a field."""
    values = flags.FlagValues()
    field.define(values)
    values(["", *lines])
    return field.value_of(values[field.name].value)


def define(classes: Sequence[type[Settings]], values: flags.FlagValues) -> dict[str, Field]:
    """Defines a flag for every field of the classes, once for a shared one; returns them by name.

    Raises:
      ValueError: two classes have different fields of one name, by more than help and default; a
        mistake of the program.
    """
    defined: dict[str, Field] = {}
    for cls in classes:
        for field in fields_of(cls):
            other = defined.get(field.name)
            if other is None:
                field.define(values)
                defined[field.name] = field
            elif other.without_texts() != field.without_texts():
                raise ValueError(f"{cls.__name__}: another class has another --{field.name}")
    return defined


def build(
    module: str,
    classes: Sequence[type[Settings]],
    values: flags.FlagValues,
    arguments: Sequence[str] | None = None,
) -> Values:
    """Makes the settings of all classes from the flags that were given.

    Raises:
      FlagError: what must be given is not (all of it is named), or see `Settings`.
    """
    missing = {
        field.name: field
        for cls in classes
        for field in fields_of(cls)
        if field.is_required and values[field.name].value is None
    }
    if len(missing) == 1:
        ((name, field),) = missing.items()
        raise FlagError(f"--{name}: not given; {field.facts.help}")
    if missing:
        *first, last = (f"--{name}" for name in missing)
        raise FlagError(f"set {', '.join(first)} and {last}")
    defaults: dict[str, object] = {}
    for field in (field for cls in classes for field in fields_of(cls)):
        defaults.setdefault(field.name, field.default)
    groups = []
    for cls in classes:
        given = {}
        for field in fields_of(cls):
            value = values[field.name].value
            if value is not None:
                given[field.name] = field.value_of(value)
            elif defaults[field.name] != field.default:
                # Of a setting that classes share, the first one's default holds for all.
                given[field.name] = defaults[field.name]
        groups.append(cls(**given))
    return Values(module, groups, arguments)


def read(classes: Sequence[type[Settings]], arguments: Sequence[str], module: str = "") -> Values:
    """Reads flags as a command does, from a list of words; see `ccssl_tf.runs.launch` for the rest.

    Raises:
      FlagError: see `build`.
      absl.flags.Error: an unknown flag, or a value that is none.
    """
    values = flags.FlagValues()
    values.set_gnu_getopt(True)
    define(classes, values)
    values(["", *arguments])
    return build(module, classes, values, arguments)


def lookup(table: Mapping[str, _T], name: str, flag: str) -> _T:
    """Returns table[name]; raises FlagError that names the flag and the choices."""
    if name not in table:
        raise FlagError(f"--{flag}={name}: unknown; there are {', '.join(sorted(table))}")
    return table[name]
