"""The verdict tells the student's conv4 from random weights and its teacher, or says it cannot."""

import numpy as np

from ccssl_tf.data.outcomes import write_outcomes
from ccssl_tf.reporting.runs import RunSet
from ccssl_tf.reporting.summary import summarise
from ccssl_tf.reporting.verdicts import verdicts


def verdicts_of(runs):
    run_set = RunSet(runs.root)
    return verdicts(run_set, summarise(run_set))


def test_a_difference_is_beyond_or_within_two_standard_errors(runs):
    runs.method()
    random = np.random.default_rng(0)
    for name, share in (("probe_random", 0.2), ("probe_jigsaw_pp", 0.39), ("probe_cc", 0.38)):
        correct = random.permutation(np.arange(1000) < 1000 * share)
        write_outcomes(dict(conv4=correct), runs.root / name)
        path = runs.root / name / "metrics.json"
        path.write_text(path.read_text().replace("0.32,", "0.2,").replace("0.36, ", "0.38, "))
    (verdict,) = verdicts_of(runs)
    assert verdict.startswith("The conv4 probe of the student CC+Jigsaw++ (CC: cluster class")
    head, above, below = verdict.split("; ")
    assert head.endswith("± 1.5 (a standard error)")
    assert above.startswith("18.0 ± ") and above.endswith("which is beyond two standard errors")
    assert " points above random weights" in above
    assert below.startswith("1.0 ± ") and "points below its teacher Jigsaw++" in below
    assert below.endswith("which is within two standard errors: noise could make it")


def test_only_the_first_sentence_explains_its_words(students):
    run_set = students(5, 7)
    first, second, _ = verdicts(run_set, summarise(run_set))
    assert "(K=5) (CC: cluster classification), a classifier on its layer conv2, is 30.5%" in first
    assert second.startswith("The conv2 probe of the student CC+Jigsaw++ (K=7) is 30.7%; ")


def test_without_errors_the_verdict_says_so(runs):
    runs.method()
    (verdict,) = verdicts_of(runs)
    assert "is 36.0%; 4.0 points above random weights, and how far noise goes is not" in verdict


def test_a_student_without_a_probe_has_none(runs):
    runs.method()
    for file in (runs.root / "probe_cc").iterdir():
        if file.is_file():
            file.unlink()
    assert verdicts_of(runs) == []
