"""Tables and figures become HTML, escaped, with their pictures inside them."""

import base64

import pytest

from ccssl_tf.reporting import elements, page


def html(macro, data):
    """Renders one macro of `elements.html.j2`."""
    return getattr(page.templates().get_template("elements.html.j2").module, macro)(data)


def test_a_table_names_rows_in_its_first_column():
    made = html("table", elements.table(["", "conv1"], [["random", "28.1"]]))
    assert "<thead><tr><th></th><th>conv1</th></tr></thead>" in made
    assert "<tr><th>random</th><td>28.1</td></tr>" in made


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (elements.Cell(("a", "b")), "a<br>b"),
        (elements.Cell(("a",), ("b", "c"), strong=True), "<strong>a</strong><small>b</small>"),
        (elements.Cell(("<a>",), ("&",)), "&lt;a&gt;<small>&amp;</small>"),
        ('<a & "b">', "&lt;a &amp; &#34;b&#34;&gt;"),
    ],
)
def test_cells_have_lines_and_small_print_and_are_escaped(cell, expected):
    assert f"<td>{expected}" in html("table", elements.table(["", ""], [["", cell]]))


def test_a_figure_holds_its_picture(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG light")
    figure = elements.figure(path, "first", "<second>", alternative='a "picture"', kind="pixels")
    made = html("figure", figure)
    assert base64.b64encode(b"\x89PNG light").decode() in made and "<source" not in made
    assert 'alt="a &#34;picture&#34;"' in made and 'class="pixels"' in made
    assert "<figcaption>first<br>&lt;second&gt;</figcaption>" in made


def test_a_figure_may_have_a_dark_form():
    figure = elements.figure({"light": b"day", "dark": b"night"}, alternative="")
    made = html("figure", figure)
    assert f'srcset="{elements.data_uri(b"night")}"' in made
    assert f'src="{elements.data_uri(b"day")}"' in made
