"""Stages of a pipeline are changed by --set, --sweep and --images."""

import pytest

from ccssl_tf.runs import stage_changes
from ccssl_tf.runs.command_lines import parse as parse_line
from ccssl_tf.runs.errors import InputError


def parse(template, workdir="runs/a b", seed=3):
    return parse_line(template, workdir=workdir, seed=seed)


def test_settings_change_every_command_that_has_the_flag():
    found = [parse(f"ccssl_tf.cluster --num_clusters=9 --workdir={name}") for name in "ab"] + [
        parse("ccssl_tf.train --workdir=c")
    ]
    changed = stage_changes.override(found, ["num_clusters=20"])
    assert [command.flag("num_clusters") for command in changed] == ["20", "20", None]
    with pytest.raises(InputError, match="no command of this pipeline has --num_cluster"):
        stage_changes.override(found, ["num_cluster=20"])
    with pytest.raises(InputError, match="name=value"):
        stage_changes.override(found, ["num_clusters"])


def test_ones_own_images_replace_the_first_data_set():
    found = [
        parse("data_prep.shapes --output_dir=d --image_size=32"),
        parse("ccssl_tf.train --data_dir=d --image_size=64 --workdir=t"),
        parse("data_prep.shapes --output_dir=e"),
        parse("ccssl_tf.cluster --num_clusters=100 --workdir=c"),
    ]
    changed = stage_changes.use_images(found, "my photos")
    own_flags = [
        "--labels=auto",
        "--val_fraction=0.1",
        "--resize_short_side=64",
    ]
    assert changed[0].line == [
        "data_prep.image_folder",
        "--source=my photos",
        "--output_dir=d",
        *own_flags,
    ]
    assert changed[1:3] == found[1:3]
    assert changed[3].line == ["ccssl_tf.cluster", "--num_clusters=0", "--workdir=c"]
    with pytest.raises(InputError, match="prepares no images"):
        stage_changes.use_images(found[1:2], "photos")


THREE = [
    parse_line(
        f"ccssl_tf.train --task={task} --train_steps={steps} --workdir=w/{name}",
        workdir="w",
        seed=0,
    )
    for name, task, steps in (
        ("jigsaw_pp", "jigsaw_pp", 400),
        ("cc", "cluster_classification", 400),
        ("probe", "linear_probe", 600),
    )
]


def test_a_named_stage_is_changed_alone():
    changed = stage_changes.override(THREE, ["jigsaw_pp:train_steps=800", "probe:eval_steps=5"])
    assert [stage.flag("train_steps") for stage in changed] == ["800", "400", "600"]
    assert changed[2].flag("eval_steps") == "5" and changed[2].changed == {"eval_steps"}
    with pytest.raises(
        InputError, match="no stage .* is called so; there are jigsaw_pp, cc, probe"
    ):
        stage_changes.override(THREE, ["jigsaw:train_steps=800"])


def test_stages_that_disagree_are_not_changed_together():
    with pytest.raises(InputError) as error:
        stage_changes.override(THREE, ["train_steps=800"])
    message = str(error.value)
    assert "jigsaw_pp 400, cc 400, probe 600" in message
    assert "--set=jigsaw_pp:train_steps=800" in message
    with pytest.raises(InputError, match="cc cluster_classification, probe linear_probe"):
        stage_changes.override(THREE, ["task=rotation"])
    with pytest.raises(InputError, match="--sweep=jigsaw_pp:task="):
        stage_changes.sweep(THREE, "task=rotation,context", "w")


def test_a_sweep_of_a_named_stage():
    stages = [
        *THREE,
        parse_line(
            "ccssl_tf.train --task=linear_probe --init_backbone=w/jigsaw_pp --workdir=w/probe2",
            workdir="w",
            seed=0,
        ),
    ]
    swept = stage_changes.sweep(stages, "jigsaw_pp:task=jigsaw_pp,rotation", "w")
    assert [stage.name for stage in swept] == [
        "cc",
        "probe",
        "task_jigsaw_pp/jigsaw_pp",
        "task_jigsaw_pp/probe2",
        "task_rotation/jigsaw_pp",
        "task_rotation/probe2",
    ]
    assert [stage.flag("task") for stage in swept[4:]] == ["rotation", "linear_probe"]
    assert swept[5].flag("init_backbone") == "w/task_rotation/jigsaw_pp"


SWEPT = [
    "data_prep.shapes --output_dir={workdir}/data",
    "ccssl_tf.extract --data_dir={workdir}/data --workdir={workdir}/features",
    "ccssl_tf.cluster --features_dir={workdir}/features --num_clusters=9 "
    "--workdir={workdir}/clusters",
    "ccssl_tf.train --task=cluster_classification --data_dir={workdir}/data "
    "--pseudo_labels={workdir}/clusters --workdir={workdir}/cc",
    "[labels] ccssl_tf.train --task=linear_probe --data_dir={workdir}/data "
    "--workdir={workdir}/probe_random",
    "[labels] ccssl_tf.train --data_dir={workdir}/data --init_backbone={workdir}/cc/backbone.keras "
    "--workdir={workdir}/p",
    "ccssl_tf.report --runs={workdir} --output_dir={workdir}/report",
]


def test_a_sweep_repeats_what_depends_on_the_flag_and_shares_the_rest():
    found = stage_changes.sweep(
        [parse(template, workdir="w") for template in SWEPT], "num_clusters=5,10", "w"
    )
    assert [str(command.directory) for command in found] == [
        "w/data",
        "w/features",
        "w/probe_random",
        *(
            f"w/num_clusters_{count}/{name}"
            for count in (5, 10)
            for name in ("clusters", "cc", "p")
        ),
        "w/report",
    ]
    clusters, classifier, probe = found[6:9]
    assert clusters.arguments == (
        "--features_dir=w/features",
        "--num_clusters=10",
        "--workdir=w/num_clusters_10/clusters",
    )
    assert (
        classifier.flag("pseudo_labels") == "w/num_clusters_10/clusters"
        and classifier.flag("data_dir") == "w/data"
    )
    assert (
        probe.flag("init_backbone") == "w/num_clusters_10/cc/backbone.keras" and probe.needs_labels
    )
    assert found[-1].flag("runs") == "w"


def test_a_sweep_of_the_first_stage_shares_nothing():
    found = stage_changes.sweep(
        [parse(template + " --seed={seed}", workdir="w") for template in SWEPT[:4]], "seed=1,2", "w"
    )
    assert [str(command.directory) for command in found[4:]] == [
        f"w/seed_2/{name}" for name in ("data", "features", "clusters", "cc")
    ]
    assert found[5].line == [
        "ccssl_tf.extract",
        "--data_dir=w/seed_2/data",
        "--workdir=w/seed_2/features",
        "--seed=2",
    ]


def test_a_directory_whose_name_only_begins_alike_is_another():
    found = stage_changes.sweep(
        [
            parse("ccssl_tf.cluster --num_clusters=9 --workdir={workdir}/c", "w"),
            parse("ccssl_tf.train --data_dir=w/c2 --workdir=w/t", "w"),
        ],
        "num_clusters=1/2,3",
        "w",
    )
    assert [str(command.directory) for command in found] == [
        "w/t",
        "w/num_clusters_1_2/c",
        "w/num_clusters_3/c",
    ]


@pytest.mark.parametrize(
    "setting, message",
    [
        ("num_clusters", "write --sweep=name=value,value"),
        ("num_clusters=5", "write --sweep=name=value,value"),
        ("num_clusters=5,,6", "write --sweep=name=value,value"),
        ("num_clusters=5,5", "with different values"),
        ("num_cluster=5,6", "no command of this pipeline has --num_cluster"),
    ],
)
def test_wrong_sweeps_are_refused(setting, message):
    with pytest.raises(InputError, match=message):
        stage_changes.sweep([parse(template, workdir="w") for template in SWEPT], setting, "w")


def test_a_sweep_of_what_is_written_elsewhere_is_refused():
    with pytest.raises(InputError, match="elsewhere is not below w"):
        stage_changes.sweep(
            [parse("ccssl_tf.cluster --num_clusters=9 --workdir=elsewhere")],
            "num_clusters=5,6",
            "w",
        )
