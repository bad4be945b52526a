"""What every pretext task promises: methods in any order, and settings refused by their flag."""

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.data.pipeline import Epoch
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.pretext.colorization import Colorization
from ccssl_tf.pretext.context import Context
from ccssl_tf.pretext.context_encoder import ContextEncoder
from ccssl_tf.pretext.counting import Counting
from ccssl_tf.pretext.jigsaw import Jigsaw
from ccssl_tf.pretext.jigsaw_pp import JigsawPP
from ccssl_tf.pretext.rotation import Rotation
from ccssl_tf.pretext.split_brain import SplitBrain
from ccssl_tf.pretext.supervised import Supervised
from ccssl_tf.runs.errors import FlagError

_PUZZLE = dict(num_permutations=20, tile_fc6_units=16, puzzle_fc7_units=16)
SMALL = {
    Colorization: dict(pixel_head_units=8),
    Context: dict(patch_fc6_units=8, pair_fc_units=8),
    ContextEncoder: {},
    Counting: dict(counting_fc_units=8, counting_units=8),
    Jigsaw: _PUZZLE,
    JigsawPP: _PUZZLE,
    Rotation: {},
    SplitBrain: dict(pixel_head_units=8),
    Supervised: {},
}


def loss(task, model):
    """The losses of a batch, computed in a graph as the loop does."""
    (batch,) = task.dataset("val", Epoch(16, training=False), model)
    return tf.function(lambda: task.loss(model, batch, training=False), autograph=False)()


FIRST = dict(
    facts=lambda task, model: task.facts(model),
    pictures=lambda task, model: task.pictures(model),
    loss=loss,
    resolved=lambda task, model: task.resolved(model.backbone),
)


@pytest.fixture(scope="module", params=SMALL, ids=lambda kind: kind.__name__)
def made(request, image_dir):
    """What makes a task, a model of it, and what a task's methods return after an evaluation."""

    def make():
        fields = dict(data_dir=str(image_dir), image_size=32, eval_batch_size=8)
        return request.param(**fields, **SMALL[request.param])

    task = make()
    backbone = AlexNet(
        stem="small",
        normalization="batch_norm",
        width_multiplier=0.1,
        fc_units=(16, 16) if task.with_fc else (),
        colors=task.colors or "rgb",
        image_size=32,
    )
    model = task.build_model(backbone)
    result = task.evaluate(model)
    assert all(np.isfinite(value) for value in result.metrics.values())
    last = dict(
        facts=task.facts(model, result),
        pictures=task.pictures(model, result),
        loss=loss(task, model),
        resolved=(task.settings,),
    )
    return make, model, last


@pytest.mark.parametrize("name", FIRST)
def test_each_method_may_be_the_first_of_a_fresh_task(made, name):
    """It returns what it returns last, after an evaluation."""
    make, model, last = made
    tf.nest.map_structure(np.testing.assert_array_equal, FIRST[name](make(), model), last[name])


@pytest.mark.parametrize(
    "kind, fields, message",
    [
        (
            Colorization,
            dict(color_rebalancing=0.0),
            "--color_rebalancing=0.0: must be 0.01 or more",
        ),
        (Colorization, dict(pixel_head_units=0), "--pixel_head_units=0: must be 1 or more"),
        (SplitBrain, dict(color_rebalancing=1.5), "--color_rebalancing=1.5: must be 1 or less"),
        (Context, dict(color="dropped"), "--color=dropped: must be one of none, drop, project"),
        (Context, dict(pairs_per_image=9), "--pairs_per_image=9: must be 8 or less"),
        (Context, dict(image_size=16), "--image_size=16: too small for pairs"),
        (ContextEncoder, dict(image_size=12), "--image_size=12: too small to cut blocks"),
        (ContextEncoder, dict(mask="centre"), "--mask=centre: must be one of"),
        (Counting, dict(image_size=18), "--image_size=18: too small for a 2x2 grid"),
        (Counting, dict(counting_margin=0.0), "--counting_margin=0.0: must be 0.001 or more"),
        (Jigsaw, dict(num_permutations=1), "--num_permutations=1: must be 2 or more"),
        (Jigsaw, dict(image_size=24), "--image_size=24: too small for a 3x3 puzzle"),
        (JigsawPP, dict(gray_probability=-0.1), "--gray_probability=-0.1: must be 0 or more"),
        (Rotation, dict(image_size=7), "--image_size=7: must be 8 or more"),
        (Supervised, dict(eval_batch_size=0), "--eval_batch_size=0: must be 1 or more"),
    ],
)
def test_settings_that_can_never_be_right_are_refused(kind, fields, message):
    """Before any file is looked at: there is no such directory."""
    with pytest.raises(FlagError) as error:
        kind(data_dir="none", **fields)
    assert str(error.value).startswith(message)
