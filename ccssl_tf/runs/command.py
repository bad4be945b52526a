"""What a command's flags are: read into settings, described by `--help`, told apart by choices.

What one flag chooses, such as `--task`, is read first; then that choice's flags alone are defined,
in a FlagValues of their own: a flag of another choice is refused, and nothing is added to absl's
global flags.
"""

import dataclasses
import textwrap
from collections.abc import Callable, Mapping, Sequence

from absl import flags

from ccssl_tf.runs import flag_files
from ccssl_tf.runs import settings as settings_lib
from ccssl_tf.runs import values as values_lib
from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.settings import Settings
from ccssl_tf.runs.values import Values

HELP_WORDS = ("--help", "-help", "-h", "--helpfull")
_HELP_COLUMNS = 100


@dataclasses.dataclass(frozen=True)
class Command:
    """What a command's flags are.

    Attributes:
      module: its name, e.g. "ccssl_tf.train".
      description: the first lines of `--help`.
      settings: classes whose flags the command always has.
      selectors: names of the flags that choose further ones; they are fields of `settings` or of
        what is chosen, and the first of them is the one that `--help` asks for.
      chosen: maps the text of every selector, None where it is not given, to the further classes
        (for the first one not given, to those that all its choices share); raises FlagError for a
        choice there is not.
      owners: label (such as "--task=jigsaw") -> classes, of everything that could be chosen: whose
        a flag is that does not belong here.
      overview: what `--help` says where nothing was chosen: the choices, one line each.
    """

    module: str
    description: str
    settings: tuple[type[Settings], ...]
    selectors: tuple[str, ...] = ()
    chosen: Callable[[Mapping[str, str | None]], Sequence[type[Settings]]] = lambda selected: ()
    owners: Callable[[], Mapping[str, Sequence[type[Settings]]]] = dict
    overview: Callable[[], str] = str

    def parse(self, arguments: Sequence[str]) -> Values:
        """Reads the words of a command line, without the program's name.

        Raises:
          FlagError: an unknown flag, one of another choice, a value that cannot be, or none where
            one is needed.
        """
        words = _expanded(arguments)
        selected = self._selected(words)
        self._refuse_no_choice(selected)
        classes = [*self.settings, *self.chosen(selected)]
        values = flags.FlagValues()
        values.set_gnu_getopt(True)
        defined = values_lib.define(classes, values)
        foreign = self._foreign(words, defined, selected)
        if foreign:
            raise ForeignFlagError(foreign, self._chosen_text(selected))
        try:
            rest = values(["", *words])[1:]
        except flags.Error as error:
            raise FlagError(str(error)) from error
        if rest:
            raise FlagError(f"unexpected argument {rest[0]!r}; flags are written --name=value")
        for word in arguments:
            if word.startswith("-") and word.partition("=")[1:] == ("=", ""):
                raise FlagError(
                    f"{word}: the value is empty; leave the flag out or give it a value"
                )
        return values_lib.build(self.module, classes, values, arguments)

    def _refuse_no_choice(self, selected):
        """Without a task, say, no other flag can be told right or wrong."""
        for cls in self.settings:
            for field in settings_lib.fields_of(cls):
                if field.is_required and selected.get(field.name, "") is None:
                    raise FlagError(f"--{field.name}: not given; {field.facts.help}")

    def _selected(self, words) -> dict[str, str | None]:
        values = flags.FlagValues()
        values.set_gnu_getopt(True)
        for name in self.selectors:
            flags.DEFINE_string(name, None, "", flag_values=values)
        try:
            values(["", *words], known_only=True)
        except flags.Error as error:
            raise FlagError(str(error)) from error
        return {name: values[name].value for name in self.selectors}

    def _foreign(self, words, defined, selected) -> dict[str, list[str]]:
        """Flag -> labels of whose it is, for every flag given that belongs to other choices."""
        names = [word.lstrip("-").partition("=")[0] for word in words if word.startswith("-")]
        unknown = [name for name in names if not {name, name.removeprefix("no")} & defined.keys()]
        if not unknown:
            return {}
        foreign: dict[str, list[str]] = {}
        for label, classes in self.owners().items():
            theirs = {field.name for cls in classes for field in settings_lib.fields_of(cls)}
            for name in unknown:
                if {name, name.removeprefix("no")} & theirs:
                    foreign.setdefault(name, []).append(label)
        return foreign

    def _chosen_text(self, selected) -> str:
        given = [f"--{name}={value}" for name, value in selected.items() if value is not None]
        return " ".join(given) or "the default"

    def settings_of_older(self, recorded: Mapping[str, str]) -> dict[str, str]:
        """Returns what tells a run apart of the flags that an older version recorded, by name:
        those of the choice they make that are not at their default.

        Args:
          recorded: name -> text, of every flag of every choice, as that version wrote them.
        """
        try:
            chosen = self.chosen({name: recorded.get(name) for name in self.selectors})
        except FlagError:
            return dict(recorded)  # Of something that there is no longer.
        fields = {
            field.name: field
            for cls in [*self.settings, *chosen]
            for field in settings_lib.fields_of(cls)
        }
        return {
            name: text
            for name, text in recorded.items()
            if name in fields and not fields[name].is_recorded_default(text)
        }

    def help(self, arguments: Sequence[str]) -> str:
        """Returns the help text: that of the choice the other words make, else the overview."""
        words = [word for word in arguments if word not in HELP_WORDS]
        try:
            selected = self._selected(_expanded(words))
            chosen = list(self.chosen(selected))
        except FlagError:
            selected, chosen = {}, []
        has_chosen = not self.selectors or selected.get(self.selectors[0]) is not None
        lines = [
            f"usage: python -m {self.module} [--flagfile=FILE ...] [--flag=value ...]",
            "",
            self.description.strip(),
        ]
        if not has_chosen:
            lines += ["", self.overview().strip()]
        shown: set[str] = set()
        for cls in [*self.settings[:1], *chosen, *self.settings[1:]]:
            fields = [f for f in settings_lib.fields_of(cls) if f.name not in shown]
            shown |= {field.name for field in fields}
            if fields:
                lines += ["", f"{_title(cls)}:"]
            for field in sorted(fields, key=lambda field: field.name):
                lines += textwrap.wrap(
                    f"--{field.name}: {field.describe()}",
                    _HELP_COLUMNS,
                    initial_indent="  ",
                    subsequent_indent="      ",
                    break_on_hyphens=False,
                )
        return "\n".join(lines)


class ForeignFlagError(FlagError):
    """Flags were given that belong to another choice than the one made.

    Attributes:
      names: of the flags.
    """

    def __init__(self, foreign: Mapping[str, Sequence[str]], chosen: str):
        self.names = tuple(foreign)
        parts = []
        for name, labels in foreign.items():
            shown = ", ".join(labels[:3]) + (
                f" and {len(labels) - 3} more" if len(labels) > 3 else ""
            )
            parts.append(f"--{name} is a flag of {shown}")
        advice = "leave it out" if len(parts) == 1 else "leave them out"
        super().__init__(f"{'; '.join(parts)}; not of {chosen}: {advice}")


def overview_of(flag: str, table: Mapping[str, type], default: str | None = None) -> str:
    """Returns the choices of a flag, each with the first line of its class's docstring.

    Args:
      flag: its name.
      table: name -> class.
      default: the choice that is made without the flag, whose flags then follow.
    """
    width = max(map(len, table))
    follows = f"; those of {default} follow" if default else ""
    lines = [f"--{flag} is one of these (--{flag}=NAME --help lists its flags{follows}):"]
    for name, kind in table.items():
        lines += textwrap.wrap(
            f"{name:{width}}  {(kind.__doc__ or '').splitlines()[0]}",
            _HELP_COLUMNS,
            initial_indent="  ",
            subsequent_indent=" " * (width + 4),
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def _title(cls):
    return (cls.__doc__ or cls.__name__).strip().splitlines()[0].rstrip(".")


def _expanded(arguments):
    """The words with those of flagfiles in their place; FlagError for what is no text."""
    for word in arguments:
        # Odd bytes arrive as surrogates, which can neither be printed nor written into flags.txt.
        if word.encode(errors="ignore").decode() != word:
            raise FlagError(f"{ascii(word)}: is not UTF-8; give the file or directory another name")
    return flag_files.expanded(arguments)
