"""First-layer filters: the random network first, then those that were trained."""

from ccssl_tf.reporting.filter_section import filter_pictures, section
from ccssl_tf.reporting.runs import RunSet


def test_each_network_is_shown_by_one_run(runs):
    runs.method()
    drawn = filter_pictures(RunSet(runs.root))
    assert [(network, run.name) for network, run in drawn] == [
        ("random", "probe_random"),
        ("Jigsaw++", "jigsaw_pp"),
        ("CC+Jigsaw++", "cc"),
    ]
    figures = section(drawn)["figures"]
    assert figures[1].caption == ("Jigsaw++",)
    assert figures[1].alternative == "Filters of the first layer of Jigsaw++"


def test_nothing_was_drawn():
    assert section([]) is None
