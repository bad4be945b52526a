"""What a pipeline trains, in words."""

import json

from ccssl_tf.runs import stage_work
from ccssl_tf.runs.command_lines import Stage

TRAINING = Stage("ccssl_tf.train", ("--train_steps=450000", "--batch_size=256", "--workdir=a"))
OTHERS = [
    Stage("ccssl_tf.cluster", ("--num_clusters=3", "--workdir=b")),
    Stage("ccssl_tf.train", ("--train_steps=5", "--workdir=c")),
    Stage("ccssl_tf.train", ("--train_steps=x", "--batch_size=2", "--workdir=d")),
]


def test_steps_and_images_are_told():
    assert stage_work.images_trained(TRAINING) == 115_200_000
    assert stage_work.in_words(TRAINING) == "450,000 steps of 256 images"
    assert [stage_work.in_words(stage) for stage in OTHERS] == ["", "", ""]
    total = stage_work.total_in_words([TRAINING, *OTHERS, TRAINING])
    assert total.startswith("2 of the stages train, on 230,400,000 images in all")
    assert stage_work.total_in_words(OTHERS) == ""


def test_images_that_are_read_are_those_of_the_data(tmp_path):
    data = Stage(
        "data_prep.imagenet", (f"--source={tmp_path}/no", f"--output_dir={tmp_path}/d"), root="w"
    )

    def reading(module, *flags):
        return Stage(module, (*flags, f"--workdir={tmp_path}/{module}{len(flags)}"), root="w")

    features = reading("ccssl_tf.extract", f"--data_dir={tmp_path}/d", "--split=val")
    clusters = reading("ccssl_tf.cluster", f"--features_dir={features.directory}")
    calibrated = reading("ccssl_tf.calibrate", f"--data_dir={tmp_path}/d")
    stages = [data, features, clusters, calibrated]
    counts = [stage_work.images_read(stage, stages) for stage in stages]
    assert counts == [1_331_167, 50_000, 50_000, 0]
    # What is at hand may be a part; what was converted is counted.
    (tmp_path / "no").mkdir()
    assert stage_work.images_read(features, stages) == 0
    (tmp_path / "d").mkdir()
    shards = [dict(num_examples=3), dict(num_examples=4)]
    manifest = dict(splits=dict(val=shards, train=[dict(num_examples=20)]))
    (tmp_path / "d" / "manifest.json").write_text(json.dumps(manifest))
    assert [stage_work.images_read(stage, stages) for stage in stages] == [27, 7, 7, 0]
