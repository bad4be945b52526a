"""Command lines as data: the stages of a pipeline, read from a flagfile and checked beforehand.

A stage is written as it would be typed, without the `python -m`: `ccssl_tf.train --task=jigsaw_pp
--workdir={workdir}/jigsaw_pp`. `{workdir}` and `{seed}` are filled in; a leading `[labels]` marks a
stage that only makes sense on labelled images. A `--flagfile` in it stands for the flags it holds,
so that they too can be set and a command with other flags is another command. Its name is that of
its directory below the pipeline's, here jigsaw_pp.
"""

import dataclasses
import importlib
import importlib.util
import itertools
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence

from ccssl_tf.runs import flag_files
from ccssl_tf.runs.command import Command, ForeignFlagError
from ccssl_tf.runs.errors import CcsslError, CorruptArtifactError, FlagError, InputError
from ccssl_tf.runs.files import MANIFEST_NAME
from ccssl_tf.runs.json_files import read_json

_MODULE = re.compile(r"(ccssl_tf|data_prep)\.[a-z0-9_]+")
_PLACEHOLDER = re.compile(r"\{[a-z0-9_]*\}")
_DEFINITION = re.compile(r"(?P<name>[a-z][a-z0-9_]*)=(?P<values>.+)", re.DOTALL)
_RESERVED = ("workdir", "seed")
_LABELS = "[labels]"


@dataclasses.dataclass(frozen=True)
class Stage:
    """One command of a pipeline.

    Attributes:
      module: e.g. "ccssl_tf.train".
      arguments: of its command line, flagfiles replaced by what they hold.
      needs_labels: whether it is left out where the images have none.
      root: the pipeline's directory.
      changed: names of the flags that --set or --sweep has changed.
    """

    module: str
    arguments: tuple[str, ...]
    needs_labels: bool = False
    root: str = ""
    changed: frozenset[str] = dataclasses.field(default=frozenset(), compare=False)

    @property
    def line(self) -> list[str]:
        """Module, then arguments: what `run.json` records."""
        return [self.module, *self.arguments]

    def flag(self, name: str) -> str | None:
        """Returns the value of `--name=value`, the last one if there are several, or None."""
        start = f"--{name}="
        values = [word.removeprefix(start) for word in self.arguments if word.startswith(start)]
        return values[-1] if values else None

    @property
    def directory(self) -> pathlib.Path:
        """Where the command writes: its `--workdir` or `--output_dir`."""
        return pathlib.Path(self.flag("workdir") or self.flag("output_dir") or "")

    @property
    def name(self) -> str:
        """The directory, below the pipeline's where it is there."""
        if self.root and self.directory.is_relative_to(self.root):
            return self.directory.relative_to(self.root).as_posix()
        return self.directory.as_posix()

    def with_flag(self, name: str, value: str) -> "Stage":
        """Returns the stage with the value of `--name=...` replaced wherever it is written, else
        with that flag added.
        """
        word, start = f"--{name}={value}", f"--{name}="
        arguments = tuple(word if old.startswith(start) else old for old in self.arguments)
        if self.flag(name) is None:
            arguments += (word,)
        return dataclasses.replace(self, arguments=arguments, changed=self.changed | {name})

    def without_flags(self, names: Sequence[str]) -> "Stage":
        """Returns the stage without these flags."""
        arguments = [w for w in self.arguments if w.lstrip("-").partition("=")[0] not in names]
        return dataclasses.replace(self, arguments=tuple(arguments))

    def mentions(self, directory: pathlib.Path) -> bool:
        """Whether the value of a flag is `directory` or a path below it."""
        values = (word.partition("=")[2] for word in self.arguments if "=" in word)
        return any(pathlib.Path(value).is_relative_to(directory) for value in values)

    def moved(self, moves: dict[pathlib.Path, pathlib.Path]) -> "Stage":
        """Returns the stage with the values that are, or lie below, a key of `moves` changed to lie
        below its value.
        """

        def moved(argument):
            name, separator, value = argument.partition("=")
            for old, new in moves.items():
                if separator and pathlib.Path(value).is_relative_to(old):
                    return f"{name}={new / pathlib.Path(value).relative_to(old)}"
            return argument

        return dataclasses.replace(self, arguments=tuple(map(moved, self.arguments)))

    def lacks_labels(self) -> bool:
        """Whether the stage needs labels and the images in its `--data_dir` are there and have
        none.
        """
        if not self.needs_labels:
            return False
        try:
            manifest = pathlib.Path(self.flag("data_dir") or "") / MANIFEST_NAME
            content = read_json(manifest, dict(info=dict), remedy="")
            return content["info"].get("class_names") is None
        except (OSError, CorruptArtifactError):
            return False  # Not there yet or damaged: the command itself says what is wrong.


def spelled_out(templates: Sequence[str], definitions: Sequence[str]) -> list[str]:
    """Returns the commands with what --define says in place of its names.

    A command that uses a name with several values stands for one command of each, one that uses
    two such names for one of each pair.

    Args:
      templates: commands.
      definitions: `name=value,value,...`; of the same name the last one counts.

    Raises:
      InputError: a definition of another form, or of a name that is taken or that no command has.
    """
    values_of: dict[str, list[str]] = {}
    for text in definitions:
        match = _DEFINITION.fullmatch(text)
        if not match or match["name"] in _RESERVED:
            raise InputError(
                f"--define={text}: write --define=NAME=value,value,... with a name of small "
                f"letters, digits and _ that is not {' or '.join(_RESERVED)}"
            )
        values_of[match["name"]] = [value.strip() for value in match["values"].split(",")]
    used = {word[1:-1] for template in templates for word in _PLACEHOLDER.findall(template)}
    if unused := sorted(values_of.keys() - used):
        raise InputError(
            f"--define={unused[0]}=...: no command of this pipeline has {{{unused[0]}}}"
        )
    commands = []
    for template in templates:
        names = [
            name
            for name in dict.fromkeys(word[1:-1] for word in _PLACEHOLDER.findall(template))
            if name in values_of
        ]
        for values in itertools.product(*(values_of[name] for name in names)):
            command = template
            for name, value in zip(names, values, strict=True):
                command = command.replace(f"{{{name}}}", value)
            commands.append(command)
    return commands


def parse(template: str, *, workdir: str, seed: int) -> Stage:
    """Reads one command and fills in its placeholders.

    Args:
      template: the command as typed, e.g. `[labels] ccssl_tf.train --data_dir={workdir}/data
        --workdir={workdir}/probe`.
      workdir: for `{workdir}`.
      seed: for `{seed}`.

    Raises:
      InputError: unbalanced quotes, an unknown placeholder or module, or no `--workdir=` or
        `--output_dir=`.
    """
    text = template.strip()
    needs_labels = text.startswith(_LABELS)
    try:
        words = shlex.split(text.removeprefix(_LABELS))
    except ValueError as error:
        raise InputError(f"--command={template}: {error}") from error
    module = words[0] if words else "nothing"
    if not _MODULE.fullmatch(module) or importlib.util.find_spec(module) is None:
        raise InputError(f"--command={template}: {module} is no command of ccssl_tf or data_prep")
    for word in words:
        unknown = set(_PLACEHOLDER.findall(word)) - {"{workdir}", "{seed}"}
        if unknown:
            raise InputError(
                f"--command={template}: unknown placeholder {min(unknown)}; there are {{workdir}}, "
                "{seed} and what --define=NAME=... defines"
            )
    words = [word.replace("{seed}", str(seed)).replace("{workdir}", workdir) for word in words]
    try:
        words = flag_files.expanded(words)
    except FlagError as error:
        raise InputError(f"--command={template}: {error}") from error
    stage = Stage(words[0], tuple(words[1:]), needs_labels, workdir)
    if not (stage.flag("workdir") or stage.flag("output_dir")):
        raise InputError(
            f"--command={template}: has neither --workdir=DIR nor --output_dir=DIR, so nothing "
            "tells whether it is done"
        )
    if needs_labels and not stage.flag("data_dir"):
        raise InputError(
            f"--command={template}: marked {_LABELS} but has no --data_dir=DIR to look for labels "
            "in"
        )
    return stage


def check_flags(stages: Sequence[Stage]) -> list[Stage]:
    """Reads the flags of every stage as its command does, in another process, and runs nothing.

    Returns:
      The stages; where --set or --sweep chose another task, say, without the flags written for the
      one before.

    Raises:
      InputError: naming every stage whose flags are wrong.
    """
    answers = _ask([stage.line for stage in stages])
    checked, wrong = [], []
    for stage, answer in zip(stages, answers, strict=True):
        left = [name for name in answer["foreign"] if name not in stage.changed]
        if left and answer["selectors"] & stage.changed:
            stage = stage.without_flags(left)
            (answer,) = _ask([stage.line])
            print(
                f"{stage.name}: left out {', '.join(f'--{name}' for name in left)}, which "
                f"{'are flags' if len(left) > 1 else 'is a flag'} of what was chosen before",
                flush=True,
            )
        if answer["error"]:
            wrong.append(f"{stage.name} ({stage.module}): {answer['error']}")
        checked.append(stage)
    if wrong:
        raise InputError("; ".join(wrong))
    return checked


def _ask(lines) -> list[dict]:
    """What the commands say of their flags: `error`, "" for none; `foreign` flags; `selectors`."""
    process = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(lines),
        env=dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3"),
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        last_line = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"the commands' flags cannot be read: {last_line}")
    answers = json.loads(process.stdout.splitlines()[-1])
    return [dict(answer, selectors=set(answer["selectors"])) for answer in answers]


def _answer(module: str, arguments: Sequence[str]) -> dict:
    command = vars(importlib.import_module(module)).get("COMMAND")
    if not isinstance(command, Command):
        return dict(error=f"{module} is no command", foreign=[], selectors=[])
    error, foreign = "", []
    try:
        command.parse(arguments)
    except CcsslError as raised:
        error = str(raised)
        foreign = list(raised.names) if isinstance(raised, ForeignFlagError) else []
    return dict(error=error, foreign=foreign, selectors=list(command.selectors))


if __name__ == "__main__":
    # Under its own name, so that the classes the commands use are these.
    from ccssl_tf.runs import command_lines

    print(json.dumps([command_lines._answer(line[0], line[1:]) for line in json.load(sys.stdin)]))
