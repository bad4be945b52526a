"""What follows from the settings of the loop; their bounds are looked at in test_loop.py."""

import pytest

from ccssl_tf.training import LoopSettings


@pytest.mark.parametrize(
    ("fields", "images"),
    [
        (dict(train_steps=350_000, batch_size=256, eval_steps=5000), 1000),
        (dict(train_steps=400, batch_size=64, eval_steps=100), 256),
        (dict(train_steps=400, batch_size=64), 1000),
        (dict(train_steps=400, batch_size=64, eval_steps=100, health_steps=50), 128),
        (dict(train_steps=400, batch_size=64, health_images=700, health_steps=1), 700),
        (dict(health_images=0), 0),
    ],
)
def test_few_images_are_looked_at_in_short_runs(fields, images):
    assert LoopSettings(**fields).num_health_images == images
