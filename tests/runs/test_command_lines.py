"""Commands are read, filled in, changed and checked as they are typed."""

import json

import pytest

from ccssl_tf.runs import command_lines as commands
from ccssl_tf.runs import stage_changes
from ccssl_tf.runs.command_lines import Stage
from ccssl_tf.runs.errors import InputError


def parse(template, workdir="runs/a b", seed=3):
    return commands.parse(template, workdir=workdir, seed=seed)


def test_placeholders_are_filled_in_after_splitting():
    command = parse("ccssl_tf.train --task='jigsaw_pp' --workdir={workdir}/x --seed={seed}")
    assert command == Stage(
        "ccssl_tf.train",
        ("--task=jigsaw_pp", "--workdir=runs/a b/x", "--seed=3"),
        root="runs/a b",
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
    assert stage_changes.override([command], ["num_clusters=20"])[0].flag("num_clusters") == "20"


@pytest.mark.parametrize(
    "template, message",
    [
        ("ccssl_tf.train --workdir={work_dir}", "unknown placeholder {work_dir}"),
        ("ccssl_tf.train --workdir='x", "No closing quotation"),
        ("ccssl_tf.nothing --workdir=x", "ccssl_tf.nothing is no command"),
        ("os.path --workdir=x", "os.path is no command"),
        ("rm -rf /", "rm is no command"),
        ("", "nothing is no command"),
        ("ccssl_tf.train --flagfile=none.flags --workdir=x", "none.flags: No such file"),
        ("ccssl_tf.train --task=jigsaw_pp", "neither --workdir=DIR nor --output_dir=DIR"),
        ("[labels] ccssl_tf.train --workdir=x", "no --data_dir=DIR"),
    ],
)
def test_wrong_commands_are_refused_in_one_line(template, message):
    with pytest.raises(InputError) as error:
        parse(template)
    assert message in str(error.value) and "\n" not in str(error.value)


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


def test_flags_are_checked_by_the_commands_themselves():
    right = parse("ccssl_tf.report --runs=a --output_dir=b")
    drawn = parse("data_prep.shapes --output_dir=x --num_train=20")
    assert commands.check_flags([right, drawn]) == [right, drawn]
    wrong = [
        parse("ccssl_tf.report --runs=a --outputdir=b --output_dir=c"),
        parse("data_prep.shapes --num_train=many --output_dir=d"),
        parse("ccssl_tf.registry --output_dir=e"),
    ]
    with pytest.raises(InputError) as error:
        commands.check_flags([right, *wrong])
    # All faults are told, each with its stage.
    for part in (
        "c (ccssl_tf.report): ",
        "outputdir",
        "d (data_prep.shapes): ",
        "num_train",
        "is no command",
    ):
        assert part in str(error.value), part


def test_flags_of_the_task_chosen_before_are_left_out(capsys):
    stage = parse("ccssl_tf.train --task=jigsaw_pp --num_permutations=9 --data_dir=d --workdir=w")
    (checked,) = commands.check_flags([stage.with_flag("task", "rotation")])
    assert checked.line == ["ccssl_tf.train", "--task=rotation", "--data_dir=d", "--workdir=w"]
    assert "w: left out --num_permutations, which is a flag of" in capsys.readouterr().out
    # What was written together does not go together.
    written = parse("ccssl_tf.train --task=rotation --num_permutations=9 --data_dir=d --workdir=w")
    with pytest.raises(InputError, match="--num_permutations is a flag of --task=jigsaw"):
        commands.check_flags([written])
