"""Command lines as data: what `pipeline` reads from a flagfile, fills in, changes and checks before
it runs anything.

A command is written as it would be typed, without the `python -m`: `ccssl_tf.train --task=jigsaw_pp
--workdir={workdir}/jigsaw_pp`. `{workdir}` and `{seed}` are filled in; a leading `[labels]` marks a
command that only makes sense on labelled images. A `--flagfile` in it stands for the flags it
holds, so that they too can be set and a command with other flags is another command.
"""

import concurrent.futures
import contextlib
import dataclasses
import importlib.util
import io
import json
import pathlib
import re
import shlex
import subprocess
import sys

from absl import flags

from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.files import MANIFEST_NAME

_MODULE = re.compile(r"(ccssl_tf|data_prep)\.[a-z0-9_]+")
_PLACEHOLDER = re.compile(r"\{[a-z_]*\}")
_LABELS = "[labels]"


@dataclasses.dataclass(frozen=True)
class Command:
    """One command of a pipeline: module, arguments, and whether it needs labelled images."""

    module: str
    arguments: tuple[str, ...]
    needs_labels: bool = False

    @property
    def line(self) -> list[str]:
        """Module, then arguments: what `run.json` records."""
        return [self.module, *self.arguments]

    def flag(self, name: str) -> str | None:
        """Returns the value of `--name=value`, the last one if there are several, or None."""
        values = [
            argument.split("=", 1)[1]
            for argument in self.arguments
            if argument.startswith(f"--{name}=")
        ]
        return values[-1] if values else None

    @property
    def directory(self) -> pathlib.Path:
        """Where the command writes: its `--workdir` or `--output_dir`."""
        return pathlib.Path(self.flag("workdir") or self.flag("output_dir"))

    def with_flag(self, name: str, value: str) -> "Command":
        """Returns the command with the value of `--name=...` replaced wherever it is written."""
        arguments = tuple(
            f"--{name}={value}" if argument.startswith(f"--{name}=") else argument
            for argument in self.arguments
        )
        return dataclasses.replace(self, arguments=arguments)

    def mentions(self, directory: pathlib.Path) -> bool:
        """Whether the value of a flag is `directory` or a path below it."""
        return any(
            pathlib.Path(argument.partition("=")[2]).is_relative_to(directory)
            for argument in self.arguments
            if "=" in argument
        )

    def moved(self, moves: dict[pathlib.Path, pathlib.Path]) -> "Command":
        """Returns the command with the values that are, or lie below, a key of `moves` changed to
        lie below its value.
        """

        def moved(argument):
            name, separator, value = argument.partition("=")
            for old, new in moves.items():
                if separator and pathlib.Path(value).is_relative_to(old):
                    return f"{name}={new / pathlib.Path(value).relative_to(old)}"
            return argument

        return dataclasses.replace(self, arguments=tuple(map(moved, self.arguments)))

    def lacks_labels(self) -> bool:
        """Whether the command needs labels and the images in its `--data_dir` are there and have
        none.
        """
        if not self.needs_labels:
            return False
        try:
            raw = json.loads((pathlib.Path(self.flag("data_dir")) / MANIFEST_NAME).read_text())
            return raw["info"].get("class_names") is None
        except (OSError, ValueError, KeyError):
            return False  # Not there yet or damaged: the command itself says what is wrong.


def parse(template: str, *, workdir: str, seed: int) -> Command:
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
    if not words or not _MODULE.fullmatch(words[0]) or importlib.util.find_spec(words[0]) is None:
        raise InputError(
            f"--command={template}: {words[0] if words else 'nothing'} is no command of ccssl_tf "
            "or data_prep"
        )
    for word in words:
        unknown = set(_PLACEHOLDER.findall(word)) - {"{workdir}", "{seed}"}
        if unknown:
            raise InputError(
                f"--command={template}: unknown placeholder {min(unknown)}; there are {{workdir}} "
                "and {seed}"
            )
    words = [word.replace("{seed}", str(seed)).replace("{workdir}", workdir) for word in words]
    try:
        words = flags.FlagValues().read_flags_from_files(words)
    except flags.CantOpenFlagFileError as error:
        raise InputError(f"--command={template}: {error}") from error
    command = Command(words[0], tuple(words[1:]), needs_labels)
    if not (command.flag("workdir") or command.flag("output_dir")):
        raise InputError(
            f"--command={template}: has neither --workdir=DIR nor --output_dir=DIR, so nothing "
            "tells whether it is done"
        )
    if needs_labels and not command.flag("data_dir"):
        raise InputError(
            f"--command={template}: marked {_LABELS} but has no --data_dir=DIR to look for labels "
            "in"
        )
    return command


def override(commands: list[Command], settings: list[str]) -> list[Command]:
    """Applies `name=value` settings to every command in which the flag is written; InputError when
    there is none.
    """
    for setting in settings:
        name, separator, value = setting.partition("=")
        if not separator or not value:
            raise InputError(f"--set={setting}: write --set=name=value")
        if not any(command.flag(name) for command in commands):
            raise InputError(f"--set={setting}: no command of this pipeline has --{name}")
        commands = [command.with_flag(name, value) for command in commands]
    return commands


def sweep(commands: list[Command], setting: str, workdir: str) -> list[Command]:
    """Runs what depends on a flag once for each of several values, and everything else once.

    A command depends on the flag if it is written there, or if it reads or writes below the
    directory of one that does. Those go to `workdir/<name>_<value>/`; a report looks at all of
    them, and so comes last.

    Args:
      commands: in order, each writing below `workdir`.
      setting: `name=value,value,...`.
      workdir: the root.

    Raises:
      InputError: no such flag, fewer than two different values, or a command to repeat that does
        not write below `workdir`.
    """
    name, _, text = setting.partition("=")
    values = text.split(",")
    if not all(values) or len(set(values)) != len(values) or len(values) < 2:
        raise InputError(
            f"--sweep={setting}: write --sweep=name=value,value with different values, e.g. "
            "--sweep=num_clusters=500,1000"
        )
    if not any(command.flag(name) for command in commands):
        raise InputError(f"--sweep={setting}: no command of this pipeline has --{name}")
    own, shared, reports = [], [], []
    for command in commands:
        depends = command.flag(name) or any(command.mentions(other.directory) for other in own)
        group = reports if command.module == "ccssl_tf.report" else own if depends else shared
        group.append(command)
        if group is own and not command.directory.is_relative_to(workdir):
            raise InputError(
                f"--sweep={setting}: {command.directory} is not below {workdir}; write "
                "{workdir}/... in the command"
            )
    repeated = []
    for value in values:
        root = pathlib.Path(workdir) / re.sub(r"[^\w.+-]", "_", f"{name}_{value}")
        moves = {
            command.directory: root / command.directory.relative_to(workdir) for command in own
        }
        repeated += [command.moved(moves).with_flag(name, value) for command in own]
    return [*shared, *repeated, *reports]


def use_images(commands: list[Command], source: str) -> list[Command]:
    """Replaces the first `data_prep` command by the conversion of the folder `source`, at the size
    the pipeline trains on.
    """
    position = next(
        (i for i, command in enumerate(commands) if command.module.startswith("data_prep.")), None
    )
    if position is None:
        raise InputError("--images: this pipeline prepares no images, there is nothing to replace")
    sizes = [
        command.flag("image_size") for command in commands if command.module == "ccssl_tf.train"
    ]
    arguments = [f"--source={source}", f"--output_dir={commands[position].directory}"]
    # Written out, so that --set can change them.
    arguments += ["--labels=auto", "--val_fraction=0.1", "--max_bad_images=0"]
    if sizes := [int(size) for size in sizes if size and size.isdigit()]:
        arguments.append(f"--resize_short_side={max(sizes)}")
    conversion = Command("data_prep.image_folder", tuple(arguments))
    return [*commands[:position], conversion, *commands[position + 1 :]]


def check_flags(commands: list[Command]):
    """Parses the flags of every command with the command's own definitions, one process per module,
    running nothing.

    Raises:
      InputError: naming the first command whose flags are wrong.
    """
    modules = {command.module: [] for command in commands}
    for command in commands:
        modules[command.module].append(command)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for group, messages in zip(
            modules.values(), pool.map(_flag_errors, modules.values()), strict=True
        ):
            for command, message in zip(group, messages, strict=True):
                if message:
                    raise InputError(
                        f"{shlex.join(command.line)}: {message.removeprefix('error: ')}"
                    )


def _flag_errors(commands):
    """Returns the error message of each of the commands, all of one module; "" where
    there is none.
    """
    process = subprocess.run(
        [sys.executable, "-m", __name__, commands[0].module],
        input=json.dumps([command.arguments for command in commands]),
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        last_line = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"{commands[0].module}: cannot be imported: {last_line}")
    return json.loads(process.stdout.splitlines()[-1])


def _parse_in_this_process(module):
    from absl.testing import flagsaver

    from ccssl_tf.runs import launch

    importlib.import_module(module)
    messages = []
    for arguments in json.load(sys.stdin):
        errors = io.StringIO()
        with flagsaver.flagsaver(), contextlib.redirect_stderr(errors):
            launch.run_command(lambda: None, "", [module, *arguments])
        messages.append(errors.getvalue().strip())
    print(json.dumps(messages))


if __name__ == "__main__":
    _parse_in_this_process(sys.argv[1])
