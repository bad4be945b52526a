"""The rooms of the house import only what lies below them, and every module has a test file of its
name.
"""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("ccssl_tf", "data_prep")
COMMANDS = {
    "train", "calibrate", "extract", "cluster", "knn_probe", "export", "report", "pipeline",
    "predict",
}  # fmt: skip

_BELOW_TASKS = {
    *("runs", "ops", "metrics", "data", "layers", "models", "clustering", "features", "pictures"),
    *("task", "distribution"),
}
# Room or module of ccssl_tf -> what else of ccssl_tf it may import. The commands may import
# anything and nobody imports them.
ALLOWED = {
    "runs": set(),
    "reporting": {"runs", "data", "metrics"},
    "ops": set(),
    "metrics": set(),
    "data": {"ops", "runs"},
    "layers": {"ops"},
    "models": {"data", "layers", "ops", "runs"},
    "pictures": {"data", "metrics", "models", "ops", "runs"},
    "clustering": {"runs", "distribution", "ops", "data", "metrics"},
    "features": {"runs", "distribution", "clustering", "models", "data", "ops", "layers", "task"},
    "distribution": {"runs"},
    "task": {"runs", "distribution", "data"},
    "pretext": _BELOW_TASKS,
    "downstream": _BELOW_TASKS,
    "knowledge_transfer": _BELOW_TASKS | {"pretext"},
    "registry": _BELOW_TASKS | {"pretext", "downstream", "knowledge_transfer"},
    "training": {"runs", "data", "distribution", "metrics", "models", "pictures"},
    "__main__": {"runs"},
}
DATA_PREP_MAY = {"runs", "data"}
# Rooms in which TensorFlow must not be imported: their commands answer at once.
WITHOUT_TENSORFLOW = {"runs", "reporting"}
# Rooms and commands that may know absl's flags.
MAY_IMPORT_ABSL = {"runs", *COMMANDS}

# Modules without behaviour of their own.
TESTED_ELSEWHERE = {
    "ccssl_tf/task.py": "the contract, held to by test_registry over every task",
    "ccssl_tf/runs/command.py": "what launch runs, tested in test_launch",
    "ccssl_tf/clustering/stage_settings.py": "fields of the command cluster, tested as that",
    "ccssl_tf/clustering/device/minibatch_replica.py": "what minibatch runs, tested as that",
    "ccssl_tf/clustering/device/minibatch_state.py": "a record, tested as part of minibatch",
    "ccssl_tf/clustering/stage.py": "the work of the command cluster, tested as that",
    "ccssl_tf/downstream/exporting.py": "the work of the command export, tested as that",
    "ccssl_tf/downstream/exported_detector.py": "a part of exported, tested as that",
    "ccssl_tf/downstream/exported_segmenter.py": "a part of exported, tested as that",
}


def modules():
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def dotted(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """Yields the dotted names `path` imports, at any depth; `from a import b` is a.b where that is
    a module.
    """
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def room(name):
    """`ccssl_tf.data.records.parse_image` -> `data`."""
    return name.split(".")[1] if "." in name else ""


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_import_directions(path):
    own = dotted(path)
    for name in imports(path):
        package, target = name.split(".")[0], room(name)
        if package not in PACKAGES or target in ("", room(own)) and own.split(".")[0] == package:
            continue
        if own.startswith("data_prep"):
            assert package == "data_prep" or target in DATA_PREP_MAY, f"{own} imports {name}"
            continue
        assert package != "data_prep", f"{own} imports {name}"
        assert target not in COMMANDS, f"{own} imports the command {name}"
        if own.count(".") == 1 and room(own) in COMMANDS:
            continue
        if own == "ccssl_tf":
            continue
        assert room(own) in ALLOWED, f"{own}: a new room; say in this test what it may import"
        assert target in ALLOWED[room(own)], (
            f"{own} imports {name}: {room(own)} may import only {sorted(ALLOWED[room(own)])}"
        )


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in modules()
        if room(dotted(path)) in WITHOUT_TENSORFLOW | {"pipeline", "report"}
    ],
    ids=dotted,
)
def test_quick_commands_import_no_tensorflow_at_the_top(path):
    top = [
        node
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in top if isinstance(node, ast.ImportFrom)}
    assert not {
        name for name in names if name.split(".")[0] in ("tensorflow", "keras", "matplotlib")
    }


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_only_commands_and_runs_know_flags(path):
    if room(dotted(path)) in MAY_IMPORT_ABSL and path.is_relative_to(ROOT / "ccssl_tf"):
        return
    assert not [name for name in imports(path) if name.split(".")[0] == "absl"]


def test_importing_everything_defines_no_flag():
    names = [dotted(path) for path in modules() if path.stem != "beam_pipeline"]
    code = (
        "import sys, importlib; from absl import flags; before = set(flags.FLAGS); "
        f"[importlib.import_module(name) for name in {names}]; "
        "new = {name for name in set(flags.FLAGS) - before "
        "if flags.FLAGS.find_module_defining_flag(name).startswith(('ccssl_tf', 'data_prep'))}; "
        "sys.exit(str(new) if new else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_program_may_have_flags_of_our_settings_names():
    code = (
        "from absl import flags; flags.DEFINE_integer('seed', 7, ''); "
        "flags.DEFINE_float('dropout_rate', 0.1, ''); "
        "import ccssl_tf.clustering, ccssl_tf.models, ccssl_tf.registry; flags.FLAGS(['x']); "
        "assert flags.FLAGS.seed == 7"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_package_is_imported_at_once_and_without_tensorflow():
    code = "import sys, ccssl_tf; sys.exit('tensorflow' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_no_room_for_leftovers():
    assert not [
        path for path in modules() if path.stem in ("utils", "util", "common", "misc", "helpers")
    ]


def has_test_file(path):
    """`data/records.py` has `tests/data/test_records.py`; a name taken elsewhere,
    `tests/data/test_data_records.py`.
    """
    package, *rooms = path.relative_to(ROOT).parent.parts
    directory = ROOT.joinpath("tests", *([] if package == "ccssl_tf" else [package]), *rooms)
    names = [f"test_{path.stem}.py", f"test_{'_'.join([*rooms, path.stem])}.py"]
    return any((directory / name).is_file() for name in names)


def test_every_module_has_a_test_file():
    named = [
        path.relative_to(ROOT).as_posix()
        for path in modules()
        if path.stem != "__init__" and not has_test_file(path)
    ]
    assert sorted(set(named) - set(TESTED_ELSEWHERE)) == []
    assert set(TESTED_ELSEWHERE) <= {path.relative_to(ROOT).as_posix() for path in modules()}
