"""Lists the commands, or runs the one that is named: `ccssl train ...` is `python -m
ccssl_tf.train ...`, and `ccssl data_prep.imagenet ...` is `python -m data_prep.imagenet ...`.
"""

import ast
import difflib
import importlib.util
import pathlib
import runpy
import sys
import textwrap

import ccssl_tf
from ccssl_tf.runs import starting
from ccssl_tf.runs.command import HELP_WORDS

_METHOD = (
    "pipeline",
    "train",
    "calibrate",
    "extract",
    "cluster",
    "knn_probe",
    "export",
    "predict",
    "report",
)
_DATA = (
    "shapes",
    "image_folder",
    "imagenet",
    "places",
    "voc",
    "coco",
    "tfds_import",
    "tfrecord_import",
    "proposals",
    "verify",
)
# The word after `ccssl` -> module.
MODULES = {name: f"ccssl_tf.{name}" for name in _METHOD} | {
    f"data_prep.{name}": f"data_prep.{name}" for name in _DATA
}


def overview() -> str:
    """Returns the list of the commands, each with the first sentence of its module's docstring."""
    width = max(map(len, MODULES))
    lines = [f"ccssl_tf {ccssl_tf.__version__}", "", "usage: ccssl COMMAND [--flag=value ...]", ""]
    for name, module in MODULES.items():
        lines += textwrap.wrap(
            f"{name:{width}}  {_first_sentence(module)}",
            100,
            initial_indent="  ",
            subsequent_indent=" " * (width + 4),
            break_on_hyphens=False,
        )
    return "\n".join([*lines, "", "ccssl COMMAND --help tells a command's flags."])


def _first_sentence(module: str) -> str:
    """Reads it from the source: importing every command would take TensorFlow's seconds."""
    spec = importlib.util.find_spec(module)
    source = pathlib.Path(spec.origin).read_text(encoding="utf-8")
    paragraph = (ast.get_docstring(ast.parse(source)) or "").split("\n\n")[0]
    return " ".join(paragraph.split()).split(". ")[0].rstrip(".:") + "."


def main() -> int:
    """Runs the command that the first word names; returns the exit code of the list."""
    words = sys.argv[1:]
    if not words or words[0] in HELP_WORDS:
        print(overview())
        return 0
    if words[0] == "--version":
        print(f"ccssl_tf {ccssl_tf.__version__}")
        return 0
    if words[0] not in MODULES:
        near = difflib.get_close_matches(words[0], MODULES, n=1)
        advice = f"; did you mean {near[0]}?" if near else "; ccssl alone lists the commands"
        print(f"error: {words[0]}: no such command{advice}", file=sys.stderr)
        return 1
    starting.exit_on_signals()
    sys.argv = [words[0], *words[1:]]
    runpy.run_module(MODULES[words[0]], run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
