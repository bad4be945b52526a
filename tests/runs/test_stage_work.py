"""What a pipeline trains, in words."""

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
