"""The loop: what it records, and that a run stopped anywhere ends as one that was not."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf import training
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.backbone_file import backbone_fingerprint
from ccssl_tf.pretext.jigsaw_pp import JigsawPP
from ccssl_tf.runs.errors import FlagError, InputError, Interrupted
from ccssl_tf.task import Result
from ccssl_tf.training import LoopSettings, OptimizerSettings, loop


def tiny_task(image_dir, **changes):
    settings = dict(
        data_dir=str(image_dir),
        image_size=32,
        num_permutations=10,
        permutations_per_image=2,
        gray_probability=0.7,
        tile_fc6_units=16,
        puzzle_fc7_units=32,
        eval_batch_size=8,
    )
    return JigsawPP(**settings | changes)


def tiny_backbone(normalization="batch_norm"):
    return AlexNet(stem="small", normalization=normalization, width_multiplier=0.1, fc_units=())


ADAM = OptimizerSettings(optimizer="adam", learning_rate=3e-3, weight_decay=0.0)
SGD = OptimizerSettings(
    learning_rate=0.01,
    learning_rate_steps=4,
    weight_decay=1e-2,
    bias_learning_rate_multiplier=1.0,
)


def run(task, workdir, steps, *, optimizer=ADAM, backbone=tiny_backbone, **options):
    keras.utils.set_random_seed(0)
    settings = dict(train_steps=steps, batch_size=16, log_steps=2, checkpoint_steps=100)
    return training.train(
        task, backbone, optimizer=optimizer, workdir=workdir, **settings | options
    )


def test_there_is_no_rate_before_the_second_record(image_dir, tmp_path):
    assert run(tiny_task(image_dir), tmp_path, 1, log_steps=50).timing == {}


def test_loss_falls_and_metrics_are_recorded(image_dir, tmp_path, monkeypatch):
    """Events are in their files before a checkpoint is: a run that is killed then tells nothing
    again that comes before it.
    """
    save, saved = loop.Checkpoints.save, []

    def checked(self, history):
        saved.append(int(self.step.numpy()))
        for name, tag, every in (("train", "loss", 2), ("held_out", "accuracy", 15)):
            steps = list(range(every, min(saved[-1], 29) + 1, every))
            steps += [30] if name == "train" and saved[-1] == 30 else []
            assert written(tmp_path / name, tag) == steps
        save(self, history)

    monkeypatch.setattr(loop.Checkpoints, "save", checked)
    model, metrics, timing = run(
        tiny_task(image_dir, num_permutations=2),
        tmp_path,
        30,
        eval_steps=15,
        checkpoint_steps=17,
        health_images=16,
    )
    assert saved == [17, 30]
    history = metrics["history"]["train"]
    assert [record["step"] for record in history] == list(range(2, 31, 2))
    assert np.mean([r["loss"] for r in history[-4:]]) < np.mean([r["loss"] for r in history[:4]])
    assert [record["step"] for record in metrics["history"]["evaluation"]] == [15, 30]
    assert set(metrics["evaluation"]) == {"loss", "accuracy"}
    assert metrics["num_parameters"] == model.count_params() - sum(
        int(np.prod(v.shape)) for v in model.non_trainable_variables
    )
    assert timing["images_per_second"] > 0
    for picture in ("puzzle", "conv1_filters"):
        assert (
            tf.io.decode_png((tmp_path / "pictures" / f"{picture}.png").read_bytes()).shape[-1] == 3
        )
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["group"], line["step"]) for line in lines if line["step"] in (15, 16, 30)] == [
        *[("evaluation", 15), ("health", 15), ("train", 16)],
        *[("train", 30), ("evaluation", 30), ("health", 30)],
    ]
    assert metrics["health"]["effective_rank"] > 1


@pytest.mark.parametrize("normalization, name", [("batch_norm", "adam"), ("lrn", "sgd")])
def test_interrupted_run_ends_with_the_same_weights(
    image_dir, tmp_path, monkeypatch, normalization, name
):
    """Interrupted twice, once in the middle of a log window and of an epoch; lrn stands for the
    head with dropout.
    """

    def backbone():
        return tiny_backbone(normalization)

    rate = dict(adam=3e-3, sgd=0.01)[name]
    optimizer = OptimizerSettings(
        optimizer=name, learning_rate=rate, learning_rate_steps=4, weight_decay=1e-3
    )
    options = dict(optimizer=optimizer, backbone=backbone, health_images=16)
    straight, straight_metrics, _ = run(tiny_task(image_dir), tmp_path / "straight", 10, **options)
    for stop_at in (3, 8):
        counted = interrupting_after(monkeypatch, stop_at - (3 if stop_at == 8 else 0))
        with pytest.raises(Interrupted, match=f"step {stop_at};"):
            run(tiny_task(image_dir), tmp_path / "broken", 10, **options)
        assert counted
        monkeypatch.undo()
    resumed, resumed_metrics, _ = run(tiny_task(image_dir), tmp_path / "broken", 10, **options)
    for ours, theirs in zip(straight.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)
    assert straight_metrics == resumed_metrics
    straight_lines, resumed_lines = (
        (tmp_path / name / "metrics.jsonl").read_bytes() for name in ("straight", "broken")
    )
    assert straight_lines == resumed_lines and straight_lines.count(b"\n") == 7


def written(directory, tag):
    return [
        event.step
        for path in sorted(directory.glob("events.*"))
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag == tag
    ]


def test_looking_at_the_features_changes_nothing(image_dir, tmp_path):
    results = [
        run(tiny_task(image_dir), tmp_path / str(images), 6, health_images=images, health_steps=2)
        for images in (0, 12)
    ]
    (model, metrics, _), (watched_model, watched, _) = results
    assert [record["step"] for record in watched["history"].pop("health")] == [2, 4, 6]
    assert set(watched.pop("health")) == {"effective_rank", "feature_std", "feature_mean"}
    assert metrics == watched
    assert backbone_fingerprint(model.backbone) == backbone_fingerprint(watched_model.backbone)


def interrupting_after(monkeypatch, steps):
    """Makes the loop see a signal after `steps` steps."""
    counted = []

    @contextlib.contextmanager
    def fake():
        def stopping():
            counted.append(1)
            return len(counted) >= steps

        yield stopping

    monkeypatch.setattr(loop.signals, "stop_on_signal", fake)
    return counted


@pytest.mark.parametrize("stop_at", [6, 10])
def test_signal_ends_an_evaluation_at_once_and_the_next_run_makes_up_for_it(
    image_dir, tmp_path, monkeypatch, stop_at
):
    """An evaluation of detectors takes hours."""
    _, straight, _ = run(tiny_task(image_dir), tmp_path / "straight", 10, eval_steps=3)
    calls = []

    def stopped(self, model):
        calls.append("begun")
        if len(calls) == -(-stop_at // 3):
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(2000):
                time.sleep(0.01)
            calls.append("ended in spite of the signal")
        return Result(dict(loss=1.0))

    monkeypatch.setattr(JigsawPP, "evaluate", stopped)
    with pytest.raises(Interrupted, match="signal; the same command continues"):
        run(tiny_task(image_dir), tmp_path / "broken", 10, eval_steps=3)
    assert set(calls) == {"begun"}
    assert (tmp_path / "broken" / "checkpoints" / f"ckpt-{stop_at}.index").is_file()
    monkeypatch.undo()
    _, resumed, _ = run(tiny_task(image_dir), tmp_path / "broken", 10, eval_steps=3)
    assert [record["step"] for record in resumed["history"]["evaluation"]] == [3, 6, 9, 10]
    assert (resumed["history"]["train"], resumed["evaluation"]) == (
        straight["history"]["train"],
        straight["evaluation"],
    )


def test_accumulation_equals_one_large_batch_without_batch_statistics(image_dir, tmp_path):
    results = []
    for parts in (1, 2):
        options = dict(backbone=lambda: tiny_backbone("lrn"), accumulate_steps=parts)
        task, workdir = tiny_task(image_dir), tmp_path / str(parts)
        results.append(run(task, workdir, 3, optimizer=SGD, **options).model)
    for ours, theirs in zip(*(model.trainable_variables for model in results), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-5, err_msg=ours.path)


def test_checkpoint_of_other_data_is_refused(image_dir, tmp_path):
    run(tiny_task(image_dir), tmp_path, 2, fingerprints=dict(data="a"))
    with pytest.raises(InputError, match="another data"):
        run(tiny_task(image_dir), tmp_path, 4, fingerprints=dict(data="b"))


def test_damaged_checkpoint_falls_back_to_the_one_before(image_dir, tmp_path, capsys):
    run(tiny_task(image_dir), tmp_path / "run", 4, checkpoint_steps=2)
    straight, *_ = run(tiny_task(image_dir), tmp_path / "straight", 6, checkpoint_steps=2)
    data_file = next((tmp_path / "run/checkpoints").glob("ckpt-4.data*"))
    data_file.write_bytes(data_file.read_bytes()[:1000])
    resumed, *_ = run(tiny_task(image_dir), tmp_path / "run", 6, checkpoint_steps=2)
    assert "ckpt-4: unreadable" in capsys.readouterr().out
    assert backbone_fingerprint(straight.backbone) == backbone_fingerprint(resumed.backbone)


def test_loss_that_is_not_finite_stops_the_run(image_dir, tmp_path):
    with pytest.raises(InputError, match="not finite at step"):
        run(
            tiny_task(image_dir),
            tmp_path,
            20,
            optimizer=OptimizerSettings(weight_decay=0.0, bias_learning_rate_multiplier=1e30),
            backbone=lambda: tiny_backbone("none"),
        )
    assert not (tmp_path / "checkpoints/ckpt-20.index").exists()


@pytest.mark.parametrize("batch_size, parts", [(12, 1), (16, 4), (24, 2)])
def test_batches_that_break_puzzle_groups_are_refused(image_dir, tmp_path, batch_size, parts):
    with pytest.raises(InputError, match=f"--batch_size={batch_size}"):
        run(tiny_task(image_dir), tmp_path, 2, batch_size=batch_size, accumulate_steps=parts)


def test_settings_are_given_whole_or_by_their_fields(image_dir, tmp_path):
    task, settings = tiny_task(image_dir), LoopSettings(train_steps=2, batch_size=16)
    keras.utils.set_random_seed(0)
    whole = training.train(task, tiny_backbone, settings, ADAM, workdir=tmp_path / "whole")
    fields = run(tiny_task(image_dir), tmp_path / "fields", 2, log_steps=50)
    assert whole.metrics == fields.metrics
    assert backbone_fingerprint(whole.model.backbone) == backbone_fingerprint(fields.model.backbone)
    with pytest.raises(TypeError, match="LoopSettings or its fields"):
        training.train(task, tiny_backbone, settings, workdir=tmp_path / "both", train_steps=3)
    with pytest.raises(TypeError, match="steps"):
        training.train(task, tiny_backbone, workdir=tmp_path / "unknown", steps=3)


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(train_steps=0), "--train_steps=0: must be 1 or more"),
        (dict(batch_size=0), "--batch_size=0: must be 1 or more"),
        (dict(batch_size=16.0), "--batch_size=16.0: expected int"),
        (dict(accumulate_steps=0), "--accumulate_steps=0: must be 1 or more"),
        (dict(mixed_precision="float8"), "--mixed_precision=float8: must be one of none, "),
        (dict(log_steps=0), "--log_steps=0: must be 1 or more"),
        (dict(eval_steps=-1), "--eval_steps=-1: must be 0 or more"),
        (dict(checkpoint_steps=0), "--checkpoint_steps=0: must be 1 or more"),
        (dict(profile_steps=(5,)), "--profile_steps=5: expected the first and the last step"),
        (dict(profile_steps=(5, 4)), "--profile_steps=5,4: expected the first and the last step"),
        (dict(seed=2**31), "--seed=2147483648: must be "),
    ],
)
def test_settings_that_can_never_be_right_are_refused(fields, message):
    with pytest.raises(FlagError, match=f"^{message}"):
        LoopSettings(**fields)


def test_a_task_that_has_evaluated_one_model_trains_another(image_dir, tmp_path):
    """What a task computed for one model is not taken for another's."""
    task = tiny_task(image_dir)
    first = run(task, tmp_path / "first", 2)
    again = run(task, tmp_path / "again", 2)
    assert first.metrics == again.metrics
    assert task.evaluate(first.model).metrics == first.metrics["evaluation"]


# One mirrored strategy a process: a second would number its collective operations as the first.
REPLICAS = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import numpy as np
sys.path.insert(0, sys.argv[1])
image_dir, workdir = sys.argv[2:]
from ccssl_tf.distribution import make_strategy
import test_loop
strategies = {name: make_strategy(name) for name in ("one", "mirrored")}
models, health = {}, {}
for normalization in ("batch_norm", "lrn"):
    for name, strategy in strategies.items():
        assert strategy.num_replicas_in_sync == (2 if name == "mirrored" else 1)
        models[name], metrics, _ = test_loop.run(
            test_loop.tiny_task(image_dir), f"{workdir}/{normalization}-{name}", 4,
            optimizer=test_loop.SGD, backbone=lambda: test_loop.tiny_backbone(normalization),
            strategy=strategy, health_images=16,
        )
        health[name] = [metrics["health"][key] for key in ("effective_rank", "feature_mean")]
    np.testing.assert_allclose(health["one"], health["mirrored"], rtol=1e-2)
    for one, two in zip(models["one"].variables, models["mirrored"].variables, strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=1e-5, atol=2e-5, err_msg=one.path)
print("equal")
"""


def test_two_logical_devices_end_with_the_weights_of_one(image_dir, tmp_path):
    """With synchronised batch normalisation, and with the head's dropout."""
    here = os.path.dirname(__file__)
    done = subprocess.run(
        [sys.executable, "-c", REPLICAS, here, str(image_dir), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.stdout.splitlines()[-1:] == ["equal"], done.stdout + done.stderr


def command(image_dir, workdir, *more):
    return [
        *(
            sys.executable,
            "-m",
            "ccssl_tf.train",
            "--task=jigsaw_pp",
            f"--data_dir={image_dir}",
            f"--workdir={workdir}",
        ),
        *(
            "--image_size=32",
            "--width_multiplier=0.1",
            "--num_permutations=10",
            "--permutations_per_image=2",
            "--tile_fc6_units=16",
        ),
        *(
            "--puzzle_fc7_units=32",
            "--batch_size=16",
            "--train_steps=40",
            "--checkpoint_steps=5",
            "--log_steps=3",
            *more,
        ),
    ]


@pytest.mark.slow
def test_killed_at_random_times_the_command_ends_with_the_same_result(image_dir, tmp_path):
    subprocess.run(command(image_dir, tmp_path / "straight"), check=True, capture_output=True)
    random = np.random.default_rng(0)
    killed = 0
    for attempt in range(20):
        process = subprocess.Popen(
            command(image_dir, tmp_path / "killed"), stdout=subprocess.PIPE, text=True
        )
        for line in process.stdout:
            if line.startswith("train "):
                break
        time.sleep(random.uniform(0, 4))
        process.send_signal(signal.SIGTERM if attempt % 5 == 4 else signal.SIGKILL)
        killed += process.wait() != 0
    subprocess.run(command(image_dir, tmp_path / "killed"), check=True, capture_output=True)
    assert killed
    for name in ("backbone.json", "metrics.json"):
        straight, resumed = (
            json.loads((tmp_path / run / name).read_text()) for run in ("straight", "killed")
        )
        assert straight == resumed
    straight, resumed = (
        (tmp_path / run / "metrics.jsonl").read_bytes() for run in ("straight", "killed")
    )
    assert straight == resumed
