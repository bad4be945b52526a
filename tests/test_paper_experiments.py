"""The paper's pipelines: every cell of its tables has a stage, and the stages run."""

import csv
import pathlib

import pytest
from paper_archives import write_archives, write_published_alexnet

from ccssl_tf import pipeline
from ccssl_tf.runs import command_lines, stage_graph, stages

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAPER = ROOT / "experiments" / "paper"
TABLES = ROOT / "ccssl_tf" / "reporting" / "paper" / "tables.csv"

# One of every kind of stage: whatever else the tables run differs in the network it starts from.
CELLS = (
    "voc07_classification/cc_jigsaw_pp_k500",
    "voc07_classification/cc_jigsaw_pp_imagenet_places",
    "voc07_classification/cc_jigsaw_pp_places_imagenet",
    "voc07_classification/context_rescaled",
    "voc07_classification/bigan",
    "voc07_classification/regression",
    "voc07_classification/at_vgg_jigsaw_pp",
    "detection/random",
    "detection/supervised",
    "detection/context_rescaled",
    "segmentation/supervised",
    "segmentation/colorization",
    "imagenet_probe/split_brain",
    "frozen_conv5/cc_vgg_context",
    "places_probe/cc_hog",
    "places_probe/places_labels",
    "frozen_conv3/jigsaw",
    "frozen_conv5/counting",
    "frozen_fc6/cc_vgg_jigsaw_pp",
    "imagenet_probe/context_encoder",
    "train/cc_random",
)
SMALL = dict(
    train_steps=2, eval_steps=0, checkpoint_steps=2, hog_words=8,
    hog_sample_images=8, pixel_head_units=16, eval_batch_size=2, accumulate_steps=1,
    num_clusters=3, detection_scales="64,96", detection_max_side=128, detection_test_scale=64,
    detection_test_max_side=128, learning_rate=1e-5,
)  # fmt: skip


def planned(path, *more):
    flags = [f"--flagfile={path.relative_to(ROOT)}", *more]
    return pipeline.plan(pipeline.COMMAND.parse(flags)[pipeline.PipelineSettings])


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch):
    """Flagfiles name each other from the project's directory."""
    monkeypatch.chdir(ROOT)


def read_cells():
    with open(TABLES, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("table", ["1", "2", "3", "4", "5", "6", "text"])
def test_every_cell_of_a_table_has_a_stage(table):
    path = PAPER / ("figures.flags" if table == "text" else f"table{table}.flags")
    chosen = planned(path)
    by_name = {stage.name: stage for stage in chosen}
    cells = [cell for cell in read_cells() if cell["table"] == table]
    assert cells
    missing = {cell["stage"] for cell in cells} - by_name.keys()
    assert not missing
    # And whatever the stage starts from is made, or published.
    for cell in cells:
        start = by_name[cell["stage"]].flag("init_backbone")
        made = start is None or start.removeprefix("runs/paper/") in by_name
        assert made or start.startswith("runs/paper/published/"), cell["stage"]


def test_all_tables_together_run_each_stage_once():
    everything = planned(PAPER / "all.flags")
    names = [stage.name for stage in everything]
    assert len(set(names)) == len(names)
    for table in range(1, 7):
        assert {stage.name for stage in planned(PAPER / f"table{table}.flags")} <= set(names)


def test_one_row_comes_from_the_archives_to_its_cells():
    row = planned(PAPER / "all.flags", "--until=*/cc_vgg_jigsaw_pp")
    names = {stage.name for stage in row}
    assert {"data/imagenet", "train/vgg_jigsaw_pp", "clusters/vgg_jigsaw_pp"} <= names
    cells = {cell["stage"] for cell in read_cells() if cell["row"] == "CC+vgg-Jigsaw++"}
    assert cells <= names
    assert "train/jigsaw_pp" not in names


def made_small(stage):
    for name, value in SMALL.items():
        if stage.flag(name) is not None:
            stage = stage.with_flag(name, str(value))
    # There are four photos of VOC to train on; puzzles need a multiple of 8 images.
    of_voc = "voc" in (stage.flag("data_dir") or "")
    return stage.with_flag("batch_size", "2" if of_voc else "8") if _is_batched(stage) else stage


def _is_batched(stage):
    return stage.flag("batch_size") is not None


@pytest.mark.slow
def test_stages_of_every_kind_take_two_steps(tmp_path):
    archives = write_archives(tmp_path / "archives")
    write_published_alexnet(tmp_path / "w" / "published" / "bigan.npz")
    flags = [
        f"--define=archives={archives}", f"--workdir={tmp_path / 'w'}",
        f"--until={','.join(CELLS)}", "--only=report",
    ]  # fmt: skip
    small = [made_small(stage) for stage in planned(PAPER / "all.flags", *flags)]
    assert {stage.name for stage in small} >= set(CELLS)
    assert stage_graph.in_order(small) == small
    command_lines.check_flags(small)
    stages.run_all(small, tmp_path / "w")
    assert all((stage.directory / "DONE").is_file() for stage in small[:-1])
    assert (small[-1].directory / "paper.html").is_file()
