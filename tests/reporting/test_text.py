"""Numbers become text in one way, and tables have straight columns."""

from ccssl_tf.reporting import text


def over_seeds(*values):
    return dict(
        mean=sum(values) / len(values), min=min(values), max=max(values), values=list(values)
    )


def test_percent():
    assert text.percent(0.3456) == "34.6"
    assert text.percent_range(over_seeds(0.33, 0.352)) == "33.0-35.2"
    assert text.percent_range(over_seeds(0.33, 0.352), "–") == "33.0–35.2"


def test_several_seeds_show_their_range():
    assert text.percent_over_seeds(over_seeds(0.25)) == "25.0"
    assert text.percent_over_seeds(over_seeds(0.25, 0.75)) == "50.0 (25.0-75.0)"
    assert text.percent_over_seeds(None) == "-"


def test_an_error_is_shown_where_it_is_known():
    assert text.percent_with_error(over_seeds(0.25)) == "25.0%"
    assert text.percent_with_error(over_seeds(0.25) | dict(standard_error=0.0142)) == "25.0% ± 1.4"
    assert text.error_of({}) == ""


def test_counts_stay_whole_and_means_are_short():
    texts = {
        value: text.number_over_seeds(dict(mean=value))
        for value in (1234.0, 12.0, 4.5, 0.23456, 123456.7, 0.0)
    }
    assert texts == {
        1234.0: "1,234",
        12.0: "12",
        4.5: "4.5",
        0.23456: "0.235",
        123456.7: "123,457",
        0.0: "0",
    }
    assert text.number_over_seeds(None) == "-"


def test_chance_is_a_share_only_where_there_is_an_accuracy():
    entry = dict(chance=0.25, training=dict(loss=1), evaluation=dict(accuracy=0.5))
    assert text.chance_of(entry) == "25.0%"
    assert text.chance_of(entry | dict(chance=None)) == "-"
    assert text.chance_of(entry | dict(chance=1.0, evaluation={"error/conv4": 0.9})) == "-"


def test_seeds_of_all_entries_are_named_once():
    assert text.seeds_of([dict(seeds=[0])]) == "seed 0"
    assert text.seeds_of([dict(seeds=[2, 0]), dict(seeds=[0, 1])]) == "seeds 0, 1, 2"


def test_metrics_are_named_in_words():
    assert text.metric_label("mean_average_precision_step") == "mAP step"
    assert text.metric_label("pixel_accuracy") == "pixel accuracy"


def test_a_table_has_straight_columns():
    rows = [["", "teacher", "K"], ["student", "a", "5"], ["b", "cc", "100"]]
    assert text.table_lines(rows, left=2) == [
        "           teacher    K",
        "  student  a          5",
        "  b        cc       100",
    ]
    assert text.table_lines([["a", ""], ["bc", "d"]]) == ["  a", "  bc  d"]
