"""Each table that was run is one of LaTeX, its braces and columns right, its texts escaped."""

import re

import pytest
from paper_measurements import measured, probed

from ccssl_tf.reporting.paper.comparison import compare
from ccssl_tf.reporting.paper.latex import as_latex, escaped
from ccssl_tf.reporting.paper.results import Results

VALUES = [0.2, 0.3, 0.31, 0.33, 0.28]


def latex(*measurements):
    return as_latex(compare(Results(measurements)))


def test_tables_that_were_not_run_are_left_out():
    assert "tabular" not in latex()
    text = latex(probed("imagenet_probe/cc_hog", VALUES), measured("segmentation/random", 0.2))
    assert r"\caption{Table 4 of the paper: linear" in text
    assert re.findall(r"\\label\{(.*?)\}", text) == ["tab:paper_4"]


def test_a_network_has_the_papers_numbers_and_ours_below():
    text = latex(
        *(probed("imagenet_probe/cc_hog", VALUES, seed=s, count=1000) for s in (0, 1)),
        probed("imagenet_probe/my_net", VALUES),
    )
    assert r"CC+HOG & paper & 16.8 & 27.4 & 20.7 & 32.0 & 29.1 \\" in text
    assert r" & ours & 20.0 $\pm$ 0.0 & 30.0 $\pm$ 0.0 &" in text
    assert r" & seeds; s.e. & 2; 1.3 & 2; 1.4 &" in text
    assert r"my\_net & ours & 20.0 & 30.0 &" in text and "Not run: Supervised; Random;" in text


def test_tables_are_well_formed():
    text = latex(
        probed("imagenet_probe/50%_of{it}\\&", VALUES),
        measured("voc07_classification/cc_jigsaw_pp", 0.4),
        measured("voc07_classification/regression", 0.4),
        measured("voc07_classification/cc_jigsaw_pp_k500", 0.4),
    )
    plain = re.sub(r"\\[&%$#_{}]|\\text\w+\{\}", "x", text)
    assert plain.count("{") == plain.count("}")
    assert text.count(r"\begin{") == text.count(r"\end{") == 2 * 5
    for table in plain.split(r"\begin{tabular}")[1:]:
        columns = len(re.match(r"\{(\w+)\}", table)[1])
        rows = [line for line in table.splitlines() if line.endswith(r"\\")]
        assert rows and {line.count("&") + 1 for line in rows} == {columns}
    assert text.startswith("% Needs") and not re.search(r"(?<!\\)#|(?<!\\)_(?!\d|\w+\})", plain)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b & 5%", r"a\_b \& 5\%"),
        ("\\", r"\textbackslash{}"),
        (
            "~^{}",
            r"\textasciitilde{}"
            r"\textasciicircum{}\{\}",
        ),
    ],
)
def test_special_characters_are_printed(text, expected):
    assert escaped(text) == expected
