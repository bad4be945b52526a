"""Parquet files as Hugging Face and others write them, read back to what was put in."""

import itertools
import json

import pytest
from foreign_records import jpeg

from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from data_prep import image_sources, parquet_layout, shard_plan
from data_prep.decoding import DecodeOptions

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
DEFAULTS = dict(labels="auto", val_fraction=0.0, classes=None, seed=0)


def write(path, columns, class_names=None, row_group_size=2, label_columns=("label",)):
    """Writes columns, with Hugging Face's description of the labels."""
    table = pa.table(columns)
    if class_names:
        label = {"names": class_names, "_type": "ClassLabel"}
        features = dict.fromkeys(label_columns, label) | {"image": {"_type": "Image"}}
        text = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": text})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def _images(numbers, with_path=True):
    rows = [{"bytes": jpeg(n), "path": f"{n}.jpg" if with_path else None} for n in numbers]
    return pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def _content(image_set):
    return {
        split: [(item.name.decode(), item.label, image_set.read(item.location)) for item in items]
        for split, items in image_set.splits.items()
    }


def test_hugging_faces_layout(tmp_path):
    names = ["ant", "bee", "cow"]
    for file, numbers in (
        ("train-00000-of-00002", range(5)),
        ("train-00001-of-00002", range(5, 7)),
        ("validation-00000-of-00001", range(7, 9)),
    ):
        columns = {"image": _images(numbers), "label": [n % 3 for n in numbers]}
        write(tmp_path / "data" / f"{file}.parquet", columns, names)
    image_set = image_sources.list_images(tmp_path, **{**DEFAULTS, "val_fraction": 0.5})
    assert image_set.class_names == names
    assert _content(image_set) == {
        "train": [(f"{n}.jpg", n % 3, jpeg(n)) for n in range(7)],
        "val": [(f"{n}.jpg", n % 3, jpeg(n)) for n in range(7, 9)],
    }


@pytest.mark.parametrize(
    ("columns", "names", "labels"),
    [
        (dict(image=[jpeg(0), jpeg(1)], label=[3, 0]), ["0", "1", "2", "3"], [3, 0]),
        (dict(img=[jpeg(0), jpeg(1)], category=["b", "a"]), ["a", "b"], [1, 0]),
        (dict(image=[jpeg(0), jpeg(1)], label=[-1, 1]), ["0", "1"], [-1, 1]),
        (dict(image=[jpeg(0), jpeg(1)], text=["x", "y"]), None, [-1, -1]),
    ],
)
def test_columns_of_others(tmp_path, columns, names, labels):
    path = write(tmp_path / "photos.parquet", columns)
    image_set = image_sources.list_images(path, **DEFAULTS)
    assert image_set.class_names == names
    assert [(label, data) for _, label, data in _content(image_set)["train"]] == list(
        zip(labels, [jpeg(0), jpeg(1)], strict=True)
    )


def test_the_labels_column_can_be_named(tmp_path):
    columns = dict(image=[jpeg(0), jpeg(1)], fine=[5, 1], label=["x", "y"], category=["p", "q"])
    path = write(tmp_path / "train.parquet", columns)
    with pytest.raises(InputError, match="'label', 'category' may all be the labels; name one by"):
        image_sources.list_images(path, **DEFAULTS)
    image_set = image_sources.list_images(path, **DEFAULTS, label_column="fine")
    assert [item.label for item in image_set.splits["train"]] == [5, 1]
    with pytest.raises(InputError, match="--label_column=z: .* has fine, label, category"):
        image_sources.list_images(path, **DEFAULTS, label_column="z")


def test_columns_described_as_classes(tmp_path, capsys):
    columns = dict(img=[jpeg(0), jpeg(1)], fine_label=[1, 0], note=["x", "y"], coarse_label=[0, 0])
    path = tmp_path / "train.parquet"
    write(path, columns, ["a", "b"], label_columns=["fine_label"])
    image_set = image_sources.list_images(path, **DEFAULTS)
    assert image_set.class_names == ["a", "b"]
    assert [item.label for item in image_set.splits["train"]] == [1, 0]
    assert "columns not taken: note, coarse_label" in capsys.readouterr().out
    write(path, columns, ["a", "b"], label_columns=["fine_label", "coarse_label"])
    with pytest.raises(InputError, match="choose one of fine_label, coarse_label by --label_colu"):
        image_sources.list_images(path, **DEFAULTS)


def test_a_row_without_bytes_is_an_empty_file(tmp_path):
    path = write(tmp_path / "train.parquet", dict(image=[jpeg(0), None], label=[0, 1]))
    read = [data for _, _, data in _content(image_sources.list_images(path, **DEFAULTS))["train"]]
    assert read == [jpeg(0), b""]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (dict(x=[1, 2]), r"no column of encoded images .*; it has x \(int64\)"),
        (dict(image=["a.jpg", "b.jpg"]), r"no column of encoded images .*image \(string\)"),
        (dict(image=[jpeg(0)], img=[jpeg(1)]), "'image', 'img' may all be the images"),
    ],
)
def test_files_that_do_not_do(tmp_path, columns, said):
    if said.startswith("'image"):
        columns = dict(Images=[jpeg(0)], img=[jpeg(1)])
        said = "'Images', 'img' may all be the images"
    path = write(tmp_path / "train.parquet", columns)
    with pytest.raises(InputError, match=said):
        image_sources.list_images(path, **DEFAULTS)


def test_damaged_files_and_options_of_other_forms(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(CorruptArtifactError, match="a.parquet: not a whole Parquet file"):
        image_sources.list_images(tmp_path, **DEFAULTS)
    write(tmp_path / "a.parquet", dict(image=[jpeg(0)], label=[0]))
    with pytest.raises(InputError, match="--list=x: .* holds Parquet files"):
        image_sources.list_images(tmp_path, **DEFAULTS, list_path="x")
    with pytest.raises(InputError, match="label 5, but there are 2 classes"):
        write(tmp_path / "a.parquet", dict(image=[jpeg(0)], label=[5]), ["p", "q"])
        image_sources.list_images(tmp_path, **DEFAULTS)


def test_a_table_sorted_by_class_is_mixed_and_each_row_group_read_once(tmp_path):
    columns = dict(image=[jpeg(n % 5) for n in range(600)], label=[n // 100 for n in range(600)])
    path = write(tmp_path / "train.parquet", columns, row_group_size=20)
    image_set = image_sources.list_images(path, **{**DEFAULTS, "val_fraction": 0.1})
    val = [item.label for item in image_set.splits["val"]]
    assert len(val) == 60 and set(val) == set(range(6))
    orders = []
    for seed in (0, 0, 1):
        tasks = shard_plan.plan_split(
            image_set, "train", tmp_path, DecodeOptions(), num_bytes=0, seed=seed
        )
        items = [item for task in tasks for item in task.items]
        assert sorted(items) == sorted(image_set.splits["train"])
        for task in tasks:
            assert {item.label for item in task.items} == set(range(6))
            groups = [parquet_layout.group_of(item) for item in task.items]
            changes = sum(one != other for one, other in itertools.pairwise(groups))
            assert changes == len(set(groups)) - 1
        orders.append(items)
    assert len(tasks) == 2 and orders[0] == orders[1] != orders[2]


def test_a_table_of_one_row_group_has_a_val(tmp_path):
    """As pandas writes it."""
    columns = dict(image=[jpeg(n) for n in range(10)], label=[0, 1] * 5)
    path = write(tmp_path / "photos.parquet", columns, row_group_size=100)
    image_set = image_sources.list_images(path, **{**DEFAULTS, "val_fraction": 0.2})
    assert {split: len(items) for split, items in image_set.splits.items()} == {
        "train": 8,
        "val": 2,
    }


def test_files_are_found_in_folders_of_folders(tmp_path):
    for name in ("default/train/0000", "default/test/0000", ".cache/train/0001"):
        write(tmp_path / f"{name}.parquet", dict(image=[jpeg(0), jpeg(1)], label=[0, 1]))
    image_set = image_sources.list_images(tmp_path, **DEFAULTS)
    assert {split: len(items) for split, items in image_set.splits.items()} == {
        "test": 2,
        "train": 2,
    }
    write(tmp_path / "photos/a/x.parquet", dict(image=[jpeg(0)]))
    (tmp_path / "photos/0.jpg").write_bytes(jpeg())
    assert parquet_layout.find_files(tmp_path / "photos") == []


def test_labels_that_are_none(tmp_path):
    objects = [dict(bbox=[1.0, 2.0])] * 2
    path = write(tmp_path / "train.parquet", dict(image=[jpeg(0), jpeg(1)], labels=objects))
    with pytest.raises(InputError, match="its labels in 'labels' are struct.* --labels=none"):
        image_sources.list_images(path, **DEFAULTS)
    image_set = image_sources.list_images(path, **{**DEFAULTS, "labels": "none"})
    assert image_set.class_names is None
    with pytest.raises(InputError, match="--labels=folders: .* holds Parquet files"):
        image_sources.list_images(path, **{**DEFAULTS, "labels": "folders"})
    columns = dict(image=[jpeg(0), jpeg(1)], label=[0, None])
    path = write(tmp_path / "train.parquet", columns, ["a", "b"])
    image_set = image_sources.list_images(path, **DEFAULTS)
    assert [item.label for item in image_set.splits["train"]] == [0, -1]


def test_files_that_do_not_fit_each_other(tmp_path):
    columns = dict(image=[jpeg(0)], label=[0])
    write(tmp_path / "train-00000-of-00002.parquet", columns, ["a", "b"])
    with pytest.raises(InputError, match="train-00001-of-00002.parquet is missing"):
        image_sources.list_images(tmp_path, **DEFAULTS)
    write(tmp_path / "train-00001-of-00002.parquet", columns, ["b", "a"])
    with pytest.raises(InputError, match="00001-of-00002.parquet: calls its classes otherwise"):
        image_sources.list_images(tmp_path, **DEFAULTS)


def test_the_command(commands, tmp_path):
    """What is written opens as any other data set does."""
    columns = {"image": _images(range(40)), "label": [n // 10 for n in range(40)]}
    write(tmp_path / "in/train-00000-of-00001.parquet", columns, list("abcd"), row_group_size=7)
    out = tmp_path / "out"
    flags = f"--source={tmp_path / 'in'}", f"--output_dir={out}", "--val_fraction=0.25"
    output, _ = commands.run("image_folder", *flags, "--num_workers=1")
    assert "30 train, 10 val images, 4 classes" in output
    found = {}
    for split in ("train", "val"):
        for record in commands.records(out, split):
            number = int(record["image/filename"].removesuffix(b".jpg"))
            assert record["image/encoded"] == jpeg(number)
            assert record["image/class/text"] == b"abcd"[number // 10 : number // 10 + 1]
            found[number] = record["image/class/label"]
    assert found == {n: n // 10 for n in range(40)}
    import tensorflow_datasets as tfds

    rows = tfds.as_numpy(tfds.builder_from_directory(out).as_dataset(split="train"))
    for row in rows:
        number = int(row["image/filename"].removesuffix(b".jpg"))
        assert row["image/class/label"] == number // 10
    output, _ = commands.run("verify", f"--data_dir={out}", "--num_workers=1")
    assert "whole: 30 train, 10 val images" in output
