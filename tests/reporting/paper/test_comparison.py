"""Every table of the paper is there, with our numbers in their cells and other networks below."""

from paper_measurements import measured, probed

from ccssl_tf.reporting.paper.comparison import compare
from ccssl_tf.reporting.paper.results import Results
from ccssl_tf.reporting.paper.tables import TITLES, paper_numbers

VALUES = [0.2, 0.3, 0.31, 0.33, 0.28]


def by_name(*measurements):
    return {table.name: table for table in compare(Results(measurements))}


def test_without_runs_all_numbers_are_the_papers():
    tables = by_name()
    assert list(tables) == list(TITLES)
    cells = [
        (table.name, row.name, cell.column, cell.paper, cell.stage, cell.metric)
        for table in tables.values()
        for row in table.rows
        for cell in row.cells
        if cell is not None and cell.paper is not None
    ]
    expected = [(n.table, n.row, n.column, n.value, n.stage, n.metric) for n in paper_numbers()]
    assert cells == expected
    assert not any(table.run for table in tables.values())
    assert tables["2"].not_run == [row.name for row in tables["2"].rows]


def test_our_numbers_stand_in_the_cells_of_their_stage():
    tables = by_name(
        probed("imagenet_probe/cc_hog", VALUES),
        measured("voc07_classification/cc_jigsaw_pp_k500", 0.4),
        measured("voc07_classification/cc_jigsaw_pp", 0.41),
        measured("frozen_fc6/cc_jigsaw_pp", 0.1, metric="evaluation.accuracy/fc6"),
    )
    (row,) = tables["4"].run
    assert row.name == "CC+HOG" and [cell.ours.mean for cell in row.cells] == VALUES
    assert "CC+HOG" not in tables["4"].not_run and "Random" in tables["4"].not_run
    (clusters,) = tables["1"].rows
    assert [cell.ours is not None for cell in clusters.cells] == [True] + [False] * 4
    assert [row.name for row in tables["2"].run] == [
        "clustering on ImageNet, pseudo-labels on ImageNet"
    ]
    (frozen,) = tables["6"].run
    assert [cell.column for cell in frozen.cells if cell.ours] == ["fc6"]


def test_a_cell_the_paper_left_empty_may_be_ours():
    (row,) = by_name(measured("segmentation/jigsaw", 0.3, metric="evaluation.mean_iou"))["3"].run
    cell = row.cells[-1]
    assert row.name == "Jigsaw" and cell.paper is None and cell.ours.mean == 0.3


def test_networks_of_ours_alone_follow_the_papers():
    tables = by_name(
        probed("imagenet_probe/cc_shuffled", VALUES),
        probed("imagenet_knn/random", VALUES[:2]),
        measured("voc07_classification/cc_jigsaw_pp_k500", 0.4),
    )
    assert "CC+Jigsaw++, 500 clusters" not in [row.name for row in tables["3"].rows]
    last = tables["4"].rows[-1]
    assert last.name == "CC, shuffled pseudo-labels" and not last.in_paper
    assert [cell.paper for cell in last.cells] == [None] * 5
    knn = tables["imagenet_knn"]
    assert knn.columns == ("conv1", "conv2") and knn.rows[0].name == "Random"
    assert knn.title.startswith("Not in the paper")
