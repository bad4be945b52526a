"""The last section loads the network that was exported, and exports another one."""

import html
import os
import re
import subprocess
import sys

import numpy as np
from PIL import Image

from ccssl_tf.downstream.exporting import export
from ccssl_tf.models.alexnet import AlexNet
from ccssl_tf.models.backbone_file import save_backbone, save_model
from ccssl_tf.models.heads import build_classifier
from ccssl_tf.reporting import page, usage_section
from ccssl_tf.reporting.runs import RunSet


def snippet_of(root):
    """The first program on the page, as a reader would copy it, and the section."""
    made = page.render("usage", section=usage_section.section(RunSet(root)))
    return html.unescape(re.search("<pre>(.*?)</pre>", made, re.DOTALL)[1]), made


def test_a_saved_model_and_an_export(runs):
    runs.method()
    (runs.root / "cc" / "backbone.keras").touch()
    section = usage_section.section(RunSet(runs.root))
    assert section["export_command"].startswith("python -m ccssl_tf.export --run=")
    snippet, made = snippet_of(runs.root)
    assert f'tf.saved_model.load("{runs.root.as_posix()}/export/saved_model")\n' in snippet
    assert "Another network as a SavedModel" in made


def test_the_printed_program_takes_a_photo_of_any_size(runs, tmp_path):
    """A classifier takes images of its own size only; the photo has another one."""
    runs.add("cc", "ccssl_tf.train --task=cluster_classification --image_size=32")
    network = dict(stem="small", normalization="batch_norm", width_multiplier=0.05, fc_units=(8, 8))
    backbone = AlexNet(**network, image_size=32)
    save_backbone(backbone, runs.root / "cc")
    save_model(build_classifier(backbone, 3, 32), runs.root / "cc/classifier.keras")
    export(runs.root / "cc", runs.root / "export \"of' <mine>")
    photo = np.random.default_rng(0).integers(0, 255, (50, 91, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.jpg")
    snippet, _ = snippet_of(runs.root)
    done = subprocess.run(
        [sys.executable, "-c", snippet],
        cwd=tmp_path,
        env=os.environ | dict(CUDA_VISIBLE_DEVICES=""),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    shapes = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert shapes["logits"] == "(1, 3)" and shapes["conv1"].startswith("(1, ")


def test_a_detector_also_takes_boxes(runs):
    runs.add("detector", "ccssl_tf.train --task=fast_rcnn", output="backbone.json")
    runs.add("export", "ccssl_tf.export --run=detector", inputs=dict(run="detector"))
    snippet, _ = snippet_of(runs.root)
    assert "model.serve_jpeg(photo, boxes)" in snippet


def test_only_a_saved_model(runs):
    runs.add("export", "ccssl_tf.export")
    section = usage_section.section(RunSet(runs.root))
    assert section["export_command"] is None
    assert "Another network" not in page.render("usage", section=section)


def test_an_export_of_other_formats_is_no_saved_model(runs):
    runs.add("export", "ccssl_tf.export", flags=dict(format="keras,onnx"))
    assert usage_section.section(RunSet(runs.root)) is None
    runs.add("both", "ccssl_tf.export", flags=dict(format="keras,saved_model"))
    assert usage_section.section(RunSet(runs.root))["snippet"].count("both/saved_model") == 1


def test_nothing_to_use(runs):
    runs.probe("probe", [0.3])
    assert usage_section.section(RunSet(runs.root)) is None
