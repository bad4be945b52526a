"""What stages do, in words; and their commands, which a shell reads."""

import shlex

import pytest

from ccssl_tf.runs.command_lines import Stage
from ccssl_tf.runs.stage_headings import heading, in_words, write_commands


def stage(text, root="w"):
    module, *arguments = shlex.split(text)
    return Stage(module, tuple(arguments), root=root)


STAGES = [
    stage("data_prep.image_folder --source=PHOTOS --output_dir=w/data"),
    stage(
        "ccssl_tf.train --task=jigsaw_pp --backbone=alexnet --data_dir=w/data --train_steps=1000 "
        "--batch_size=8 --workdir=w/train/a"
    ),
    stage(
        "ccssl_tf.extract --init_backbone=w/train/a --endpoint=conv4 --split=val "
        "--data_dir=w/data --workdir=w/features"
    ),
    stage("ccssl_tf.extract --extractor=hog --data_dir=w/data --workdir=w/hog"),
    stage("ccssl_tf.cluster --features_dir=w/features --num_clusters=7 --workdir=w/clusters"),
    stage(
        "ccssl_tf.train --task=cluster_classification --backbone=vgg16 --data_dir=w/data "
        "--pseudo_labels=w/clusters --workdir=w/student"
    ),
    stage("ccssl_tf.train --task=linear_probe --data_dir=w/data --workdir=w/random"),
    stage("ccssl_tf.train --task=linear_probe --init_backbone=w/student --workdir=w/probe"),
    stage("ccssl_tf.train --task=fcn --init_backbone=elsewhere/b.npz --workdir=w/fcn"),
    stage("ccssl_tf.export --run=w/student --output_dir=w/export"),
    stage("ccssl_tf.report --runs=w --output_dir=w/report"),
]


@pytest.mark.parametrize(
    "number, words",
    [
        (0, "prepare images with data_prep.image_folder from PHOTOS"),
        (1, "train alexnet on jigsaw_pp, 1,000 steps of 8 images"),
        (2, "conv4 features of train/a, split val"),
        (3, "features of hog"),
        (4, "cluster features into 7"),
        (5, "train vgg16 on cluster_classification, labels of clusters"),
        (6, "linear probe of random weights"),
        (7, "linear probe of student"),
        (8, "train a network on fcn, starting from elsewhere/b.npz"),
        (9, "export of student"),
        (10, "report on all of it"),
    ],
)
def test_what_is_done_is_told_in_words(number, words):
    assert in_words(STAGES[number], STAGES) == words


def test_a_heading_has_the_name_and_of_several_seeds_which():
    assert heading(STAGES[9], STAGES) == "export - export of student"
    other = stage("ccssl_tf.export --run=v/student --output_dir=v/export", root="v")
    assert heading(other, [*STAGES, other]) == "v/export - export of v/student"


def test_the_commands_are_a_shell_script(tmp_path):
    odd = stage("ccssl_tf.report '--runs=a b' --output_dir=w/report")
    path = write_commands(tmp_path, [STAGES[9], odd])
    assert path == tmp_path / "commands.txt"
    lines = path.read_text().splitlines()
    assert [shlex.split(line, comments=True) for line in lines if line] == [
        [],
        ["python", "-m", "ccssl_tf.export", "--run=w/student", "--output_dir=w/export"],
        [],
        ["python", "-m", "ccssl_tf.report", "--runs=a b", "--output_dir=w/report"],
    ]
