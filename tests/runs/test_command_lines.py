"""Commands are read, filled in, changed and checked as they are typed."""

import json

import pytest

from ccssl_tf.runs import command_lines as commands
from ccssl_tf.runs.command_lines import Command
from ccssl_tf.runs.errors import InputError


def parse(template, workdir="runs/a b", seed=3):
    return commands.parse(template, workdir=workdir, seed=seed)


def test_placeholders_are_filled_in_after_splitting():
    command = parse("ccssl_tf.train --task='jigsaw_pp' --workdir={workdir}/x --seed={seed}")
    assert command == Command(
        "ccssl_tf.train", ("--task=jigsaw_pp", "--workdir=runs/a b/x", "--seed=3")
    )
    assert str(command.directory) == "runs/a b/x"
    assert command.flag("seed") == "3" and command.flag("nothing") is None


def test_a_workdir_that_looks_like_a_placeholder_stays():
    assert parse("data_prep.shapes --output_dir={workdir}", workdir="{seed}").arguments == (
        "--output_dir={seed}",
    )


def test_a_flagfile_stands_for_its_flags(tmp_path):
    (tmp_path / "a.flags").write_text("# Settings.\n--num_clusters=9\n--workdir=elsewhere\n")
    command = parse(
        f"ccssl_tf.cluster --seed={{seed}} --flagfile={tmp_path}/a.flags --workdir={{workdir}}"
    )
    assert command.arguments == (
        "--seed=3",
        "--num_clusters=9",
        "--workdir=elsewhere",
        "--workdir=runs/a b",
    )
    assert commands.override([command], ["num_clusters=20"])[0].flag("num_clusters") == "20"


@pytest.mark.parametrize(
    "template, message",
    [
        ("ccssl_tf.train --workdir={work_dir}", "unknown placeholder {work_dir}"),
        ("ccssl_tf.train --workdir='x", "No closing quotation"),
        ("ccssl_tf.nothing --workdir=x", "ccssl_tf.nothing is no command"),
        ("os.path --workdir=x", "os.path is no command"),
        ("rm -rf /", "rm is no command"),
        ("", "nothing is no command"),
        ("ccssl_tf.train --flagfile=none.flags --workdir=x", "Unable to open flagfile"),
        ("ccssl_tf.train --task=jigsaw_pp", "neither --workdir=DIR nor --output_dir=DIR"),
        ("[labels] ccssl_tf.train --workdir=x", "no --data_dir=DIR"),
    ],
)
def test_wrong_commands_are_refused_in_one_line(template, message):
    with pytest.raises(InputError) as error:
        parse(template)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_settings_change_every_command_that_has_the_flag():
    found = [parse(f"ccssl_tf.cluster --num_clusters=9 --workdir={name}") for name in "ab"] + [
        parse("ccssl_tf.train --workdir=c")
    ]
    changed = commands.override(found, ["num_clusters=20"])
    assert [command.flag("num_clusters") for command in changed] == ["20", "20", None]
    with pytest.raises(InputError, match="no command of this pipeline has --num_cluster"):
        commands.override(found, ["num_cluster=20"])
    with pytest.raises(InputError, match="name=value"):
        commands.override(found, ["num_clusters"])


def test_ones_own_images_replace_the_first_data_set():
    found = [
        parse("data_prep.shapes --output_dir=d --image_size=32"),
        parse("ccssl_tf.train --data_dir=d --image_size=64 --workdir=t"),
        parse("data_prep.shapes --output_dir=e"),
    ]
    changed = commands.use_images(found, "my photos")
    own_flags = [
        "--labels=auto",
        "--val_fraction=0.1",
        "--max_bad_images=0",
        "--resize_short_side=64",
    ]
    assert changed[0].line == [
        "data_prep.image_folder",
        "--source=my photos",
        "--output_dir=d",
        *own_flags,
    ]
    assert changed[1:] == found[1:]
    with pytest.raises(InputError, match="prepares no images"):
        commands.use_images(found[1:2], "photos")


def test_labels_are_looked_for_in_the_data_directory(tmp_path):
    marked = parse(f"[labels] ccssl_tf.train --data_dir={tmp_path} --workdir=x")
    unmarked = parse(f"ccssl_tf.train --data_dir={tmp_path} --workdir=x")
    assert marked.needs_labels and not marked.lacks_labels()
    for names, lacks in ((None, True), (["cat", "dog"], False)):
        (tmp_path / "manifest.json").write_text(json.dumps(dict(info=dict(class_names=names))))
        assert marked.lacks_labels() is lacks
        assert not unmarked.lacks_labels()
    (tmp_path / "manifest.json").write_text("damaged")
    assert not marked.lacks_labels()


def test_flags_are_parsed_by_the_commands_themselves():
    right = Command("ccssl_tf.report", ("--runs=a", "--output_dir=b"))
    commands.check_flags([right, Command("data_prep.shapes", ("--output_dir=x", "--num_train=20"))])
    for arguments, message in (
        (("--runs=a", "--outputdir=b"), "outputdir"),
        (("--runs=a", "stray"), "stray"),
        (("--seed=-1",), "seed"),
    ):
        with pytest.raises(InputError, match=message) as error:
            commands.check_flags([right, Command("ccssl_tf.report", arguments)])
        assert "ccssl_tf.report" in str(error.value)


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
    found = commands.sweep(
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
    found = commands.sweep(
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
    found = commands.sweep(
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
        commands.sweep([parse(template, workdir="w") for template in SWEPT], setting, "w")


def test_a_sweep_of_what_is_written_elsewhere_is_refused():
    with pytest.raises(InputError, match="elsewhere is not below w"):
        commands.sweep(
            [parse("ccssl_tf.cluster --num_clusters=9 --workdir=elsewhere")],
            "num_clusters=5,6",
            "w",
        )
