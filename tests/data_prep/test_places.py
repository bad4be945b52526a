import io

import numpy as np
from PIL import Image

from ccssl_tf.runs.settings import fields_of
from data_prep import places, places_layout


def test_the_command_gives_records_with_the_lists_labels(commands, tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    rng = np.random.default_rng(0)
    lines, data = [], {}
    for i in range(6):
        name = f"{'ac'[i % 2]}/{('abbey', 'church/outdoor')[i % 2]}/{i:08}.jpg"
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(buffer, "JPEG")
        (source / "data_256" / name).parent.mkdir(parents=True, exist_ok=True)
        (source / "data_256" / name).write_bytes(buffer.getvalue())
        lines.append(f"/{name} {i % 2}\n")
        data[name] = buffer.getvalue()
    (source / "places365_train_standard.txt").write_text("".join(lines))
    flags = ("places", f"--source={source}", f"--output_dir={out}", "--num_workers=1")
    output, _ = commands.run(*flags, "--dry_run")
    assert "6 train images, 2 classes" in output and not out.exists()
    commands.run(*flags, "--layout=places205", code=2)
    commands.run(*flags)
    found = list(commands.records(out, "train"))
    assert {record["image/filename"].decode(): record["image/encoded"] for record in found} == data
    for record in found:
        assert (
            record["image/class/text"] == (b"abbey", b"church/outdoor")[record["image/class/label"]]
        )
        assert record["image/class/text"] in record["image/filename"]
    (source / "data_256/a/abbey/00000000.jpg").unlink()
    _, errors = commands.run(*flags[:2], f"--output_dir={tmp_path / 'other'}", code=2)
    assert "1 listed but missing: a/abbey/00000000.jpg" in errors and errors.count("\n") == 1


def test_every_layout_can_be_named():
    choices = {f.name: f.facts.choices for f in fields_of(places.PlacesSettings)}
    assert choices["layout"] == ("auto", *places_layout.LAYOUTS)
