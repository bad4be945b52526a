"""What W&B and MLflow keep of a run, as their own readers find it, without a network."""

import json
import struct
import time

import pytest

from ccssl_tf.runs.errors import FlagError
from ccssl_tf.training import tracking

SETTINGS = dict(learning_rate=0.5, train_steps=3, task="jigsaw", jit=False)
POINTS = [("train", dict(loss=1.0, learning_rate=0.5), 2), ("held_out", dict(loss=2.0), 2)]


def run(name, workdir, points=POINTS):
    workdir.mkdir(exist_ok=True)
    with tracking.tracked([name], workdir, SETTINGS) as (tracker,):
        for point in points:
            tracker.scalars(*point)


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/store.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    return pytest.importorskip("mlflow", reason="pip install 'ccssl_tf[mlflow]'")


def test_mlflow_has_settings_and_curves_and_a_run_goes_on_there(mlflow, tmp_path, capsys):
    workdir = tmp_path / "jigsaw"
    workdir.mkdir()
    with pytest.raises(KeyboardInterrupt), tracking.tracked(["mlflow"], workdir, SETTINGS):
        raise KeyboardInterrupt
    number = json.loads((workdir / "mlflow_run.json").read_text())["run"]
    client = mlflow.MlflowClient()
    assert client.get_run(number).info.status == "KILLED"
    run("mlflow", workdir)
    run("mlflow", workdir, [("train", dict(loss=0.5), 4)])
    assert capsys.readouterr().out.count(f"mlflow  run {number}  sqlite://") == 3
    experiment = client.get_experiment_by_name("mine")
    (found,) = client.search_runs([experiment.experiment_id])
    assert found.info.run_id == number and found.info.run_name == "jigsaw"
    assert found.info.status == "FINISHED"
    assert found.data.params == {name: str(value) for name, value in SETTINGS.items()}
    curves = {
        name: [(point.step, point.value) for point in client.get_metric_history(number, name)]
        for name in found.data.metrics
    }
    assert curves == {
        "train/loss": [(2, 1.0), (4, 0.5)],
        "train/learning_rate": [(2, 0.5)],
        "held_out/loss": [(2, 2.0)],
    }


def test_a_store_that_stops_answering_ends_nothing(mlflow, tmp_path, monkeypatch, capsys):
    def refuse(*unused, **more):
        raise mlflow.exceptions.MlflowException("gone\naway")

    (tmp_path / "run").mkdir()
    with tracking.tracked(["mlflow"], tmp_path / "run", SETTINGS) as (tracker,):
        monkeypatch.setattr(mlflow.MlflowClient, "log_batch", refuse)
        for point in POINTS:
            tracker.scalars(*point)
    told = [line for line in capsys.readouterr().out.splitlines() if "WARNING" in line]
    assert told == ["WARNING: mlflow is told no more from step 2 on: gone away"]


def test_wandb_has_settings_and_curves_and_a_run_goes_on_there(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="pip install 'ccssl_tf[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    workdir = tmp_path / "jigsaw"
    run("wandb", workdir)
    run("wandb", workdir, [("train", dict(loss=0.5), 4)])
    number = json.loads((workdir / "wandb_run.json").read_text())["run"]
    first, second = sorted((workdir / "wandb").glob("offline-run-*/*.wandb"))
    assert first.name == second.name == f"run-{number}.wandb"
    (told, config), (more, _) = written_content(first), written_content(second)
    assert {name: config[name] for name in SETTINGS} == SETTINGS
    curves = [{name: row[name] for name in row if not name.startswith("_")} for row in told]
    assert curves == [
        {"train/loss": 1.0, "train/learning_rate": 0.5, "step": 2},
        {"held_out/loss": 2.0, "step": 2},
    ]
    assert [row["train/loss"] for row in more] == [0.5]


def log_records(content):
    """Yields the records of a log of LevelDB's form, which is that of a run's file.

    In blocks of 32 kB there are pieces of a checksum (4 bytes), a length (2), a kind (1: whole, 2:
    first, 3: middle, 4: last) and data.
    """
    place, record = 7, b""  # Behind the file's header.
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield record
            record = b""


def written_content(path):
    """As `wandb_content`; another process writes the file, and soon its end."""
    deadline = time.monotonic() + 60
    while True:
        points, config, has_ended = wandb_content(path)
        if has_ended or time.monotonic() > deadline:
            return points, config
        time.sleep(0.2)


def wandb_content(path):
    """Returns the points, the settings and whether there is an end of a run that was offline."""
    from wandb.proto.wandb_internal_pb2 import Record

    points, config, has_ended = [], {}, False
    for data in log_records(path.read_bytes()):
        record = Record.FromString(data)
        items = {
            item.key or "/".join(item.nested_key): json.loads(item.value_json)
            for item in record.history.item
        }
        points += [items] if items else []
        has_ended = has_ended or record.WhichOneof("record_type") == "exit"
        update = record.run.config.update
        config |= {item.key: json.loads(item.value_json) for item in update}
    return points, config, has_ended


def test_what_is_missing_is_named_before_anything_is_done(monkeypatch):
    monkeypatch.setitem(tracking.TRACKERS, "no_such_package", tracking.Wandb)
    expected = r"needs no_such_package: pip install 'ccssl_tf\[no_such_package\]'$"
    with pytest.raises(FlagError, match=expected):
        tracking.check(["no_such_package"])
