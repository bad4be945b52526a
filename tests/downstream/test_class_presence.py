"""The loss against a loop; what data sets may not say of classes."""

import numpy as np
import pytest
import tensorflow as tf

from ccssl_tf.data import pipeline, records, voc_records
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.downstream import class_presence as lib
from ccssl_tf.runs.errors import InputError


def test_the_loss_in_a_loop():
    random = np.random.default_rng(0)
    logits, presence = random.normal(size=[6, 4]).astype(np.float32), random.integers(-1, 2, [6, 4])
    expected = np.zeros(6)
    for row in range(6):
        for number in range(4):
            probability = 1 / (1 + np.exp(-float(logits[row, number])))
            if presence[row, number] != 0:
                expected[row] -= np.log(
                    probability if presence[row, number] > 0 else 1 - probability
                )
    np.testing.assert_allclose(
        lib.presence_loss(logits, tf.constant(presence)), expected, rtol=1e-5
    )


def test_images_of_other_data_sets_are_refused(image_dir):
    with pytest.raises(InputError, match="no split trainval, but train, val"):
        lib.presence_classes(image_dir, ["trainval"])
    with pytest.raises(InputError, match="split train does not say which classes"):
        lib.presence_classes(image_dir, ["train"])


def test_another_number_of_classes_is_refused(voc_dir, tmp_path):
    manifest = Manifest.read(voc_dir, "images")
    for shard in manifest.shards("trainval") + manifest.shards("test"):
        (tmp_path / shard.name).symlink_to(voc_dir / shard.name)
    Manifest("images", manifest.splits, dict(class_names=["a", "b"])).write(tmp_path)
    with pytest.raises(InputError, match="tells of 4 classes, the data set names 2"):
        lib.presence_classes(tmp_path, ["trainval"])


@pytest.mark.parametrize(
    "states, said",
    [
        ([1, -1], "tells of 2 classes instead of 4"),
        ([1, 3, -1, 0], r"has class states \[1 3 -1 0\], which must be 1, 0 or -1"),
    ],
)
def test_states_of_classes_that_cannot_be_are_named_while_reading(voc_dir, tmp_path, states, said):
    first = next(iter(records.read_shard(voc_dir / "test-00000-of-00001.tfrecord")))
    encoded = records.parse_image(first)["encoded"].numpy()
    bad = dict(encoded=encoded, filename=b"odd.jpg", height=60, width=90, index=1)
    examples = [first, records.image_example(**bad, extra=voc_records.presence_features(states))]
    shard = records.write_shard(tmp_path / "test-00000-of-00001.tfrecord", examples)
    Manifest("images", dict(test=[shard]), dict(class_names=list("abcd"))).write(tmp_path)

    def load(parsed):
        return dict(presence=lib.checked_presence(parsed, str(tmp_path), "test", 4))

    options = dict(batch_size=2, load=load, parse=voc_records.parse_voc_image)
    with (
        pytest.raises(InputError, match=f"split test: image 1 .odd.jpg. {said}"),
        records.naming_damage(tmp_path),
    ):
        list(pipeline.evaluation_batches(tmp_path, "test", **options))
