"""The last section loads the network that was exported, and exports another one."""

from ccssl_tf.reporting import page, usage_section
from ccssl_tf.reporting.runs import RunSet


def test_a_saved_model_and_an_export(runs):
    runs.method()
    (runs.root / "cc" / "backbone.keras").touch()
    section = usage_section.section(RunSet(runs.root))
    assert section["saved_model"].endswith("export/saved_model")
    assert section["export_command"].startswith("python -m ccssl_tf.export --run=")
    made = page.render("usage", section=section)
    assert f'tf.saved_model.load("{section["saved_model"]}")\n' in made
    assert "Another network as a SavedModel" in made


def test_only_a_saved_model(runs):
    runs.add("export", "ccssl_tf.export")
    section = usage_section.section(RunSet(runs.root))
    assert section["export_command"] is None
    assert "Another network" not in page.render("usage", section=section)


def test_an_export_of_other_formats_is_no_saved_model(runs):
    runs.add("export", "ccssl_tf.export", flags=dict(format="keras,onnx"))
    assert usage_section.section(RunSet(runs.root)) is None
    runs.add("both", "ccssl_tf.export", flags=dict(format="keras,saved_model"))
    assert usage_section.section(RunSet(runs.root))["saved_model"].endswith("both/saved_model")


def test_nothing_to_use(runs):
    runs.probe("probe", [0.3])
    assert usage_section.section(RunSet(runs.root)) is None
