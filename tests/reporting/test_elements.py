"""Pieces of HTML are escaped and carry their pictures."""

import base64

from ccssl_tf.reporting import elements


def test_text_is_escaped():
    assert elements.text('<a & "b">') == "&lt;a &amp; &quot;b&quot;&gt;"


def test_a_table_names_rows_in_its_first_column():
    made = elements.table(["", "conv1"], [["random", "28.1"]])
    assert "<thead><tr><th></th><th>conv1</th></tr></thead>" in made
    assert "<tr><th>random</th><td>28.1</td></tr>" in made


def test_a_figure_holds_its_picture(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG light")
    made = elements.figure(path, "caption", 'a "picture"', "pixels")
    assert base64.b64encode(b"\x89PNG light").decode() in made and "<source" not in made
    assert 'alt="a &quot;picture&quot;"' in made and 'class="pixels"' in made


def test_a_figure_may_have_a_dark_form():
    made = elements.figure({"light": b"day", "dark": b"night"}, "", "")
    assert (
        f'srcset="{elements.data_uri(b"night")}"' in made
        and f'src="{elements.data_uri(b"day")}"' in made
    )


def test_percent():
    assert elements.percent_of(0.3456) == "34.6%"


def test_chance_is_a_share_only_where_there_is_an_accuracy():
    entry = dict(chance=0.25, training=dict(loss=1), evaluation=dict(accuracy=0.5))
    assert elements.chance_of(entry) == "25.0%"
    assert elements.chance_of(entry | dict(chance=None)) == "-"
    assert elements.chance_of(entry | dict(chance=1.0, evaluation={"error/conv4": 0.9})) == "-"
