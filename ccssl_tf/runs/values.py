"""All settings of one run of a command: read from flags, resolved, recorded, compared."""

import typing
from collections.abc import Collection, Iterable, Iterator, Sequence

from absl import flags

from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.fields import Field, as_text, read_field
from ccssl_tf.runs.settings import Settings, fields_of

_SettingsT = typing.TypeVar("_SettingsT", bound=Settings)


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
        # What was said of the settings that now have the value that ran, by name.
        self._said: dict[str, object] = {}

    def __getitem__(self, cls: type[_SettingsT]) -> _SettingsT:
        return typing.cast(_SettingsT, self._groups[cls])

    def __iter__(self) -> Iterator[Settings]:
        return iter(self._groups.values())

    def __contains__(self, cls: object) -> bool:
        return cls in self._groups

    def resolved(self, *groups: Settings) -> "Values":
        """Returns a copy in which these groups, of classes there are, took the others' place.

        A run that an older version recorded as it was said still agrees with the copy.
        """
        copy = Values(self.module, self, self.arguments)
        copy._said = dict(self._said)
        for group in groups:
            before = self[type(group)]
            for field in fields_of(type(group)):
                value = getattr(before, field.name)
                if value != getattr(group, field.name):
                    copy._said.setdefault(field.name, value)
            copy._groups[type(group)] = group
        return copy

    def without(self, *classes: type[Settings]) -> "Values":
        """Returns a copy without the groups of these classes, such as those of other networks."""
        copy = Values(self.module, (g for g in self if type(g) not in classes), self.arguments)
        copy._said = dict(self._said)
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
                    or self._was_open(name, field)
                )
            else:
                agrees = _same(field, value, before) or (
                    not is_resolved and self._agrees_as_said(name, field, value, before)
                )
            if not agrees:
                return name, " ".join(before or []), " ".join(field.lines(value))
        return None

    def _was_open(self, name, field):
        return name in self._said and field.is_automatic(self._said[name])

    def _agrees_as_said(self, name, field, value, lines):
        """Whether what was said here is what an older version recorded."""
        said = self._said.get(name, value)
        was_open = field.is_automatic(said) and _was_automatic(field, lines)
        return was_open or _same(field, said, lines)


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
