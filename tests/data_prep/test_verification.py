"""Every way to damage a directory of shards is found, and the shard named."""

import concurrent.futures
import contextlib
import json
import shutil

import numpy as np
import pytest
from conftest import write_images

from ccssl_tf.data import image_list
from ccssl_tf.data.manifest import Manifest
from ccssl_tf.runs.digests import Digests
from ccssl_tf.runs.errors import CorruptArtifactError, InputError
from ccssl_tf.runs.settings import CommandSettings
from ccssl_tf.runs.values import Values
from ccssl_tf.runs.workdir import Workdir
from data_prep import verification, worker_pool

SHARD = "train-00001-of-00003.tfrecord"


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """The same work without starting processes."""

    @contextlib.contextmanager
    def open_pool(num_processes, counter):
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            yield pool

    monkeypatch.setattr(worker_pool, "open_pool", open_pool)


@pytest.fixture
def copy(image_dir, tmp_path):
    return shutil.copytree(image_dir, tmp_path / "copy")


def _faults(directory):
    result = verification.verify(directory, num_workers=1)
    assert result.num_faults >= len(result.faults) and bool(result.num_faults) == bool(
        result.faults
    )
    return result.faults


def _record_ends(data):
    """Byte positions behind each record, by the format's definition."""
    ends, position = [], 0
    while position < len(data):
        position += 8 + 4 + int.from_bytes(data[position : position + 8], "little") + 4
        ends.append(position)
    return ends


def test_what_was_written_is_whole(image_dir):
    result = verification.verify(image_dir, num_workers=1)
    assert result.num_faults == 0 and "48 train, 16 val images in 4 shards" in result.summary


def test_the_list_of_images_is_compared_with_the_records(copy):
    names = {
        split: [f"{split} {index}".encode() + b"-\xff\xe9.jpg" for index in range(count)]
        for split, count in (("train", 48), ("val", 16))
    }
    rows = [
        image_list.row(index, name, split, index % 3, ["a", "b", "c"])
        for split, images in names.items()
        for index, name in enumerate(images)
    ]
    image_list.write(copy, rows)
    assert _faults(copy) == []
    for damaged, said in (
        ([*rows[:20], [99, *rows[20][1:]], *rows[21:]], f"its rows are not those of {SHARD}"),
        ([*rows[:20], [*rows[20][:3], 1, "b"], *rows[21:]], "its rows are not those of"),
        ([*rows[:48], [0, "x", "val", 0, "a"], *rows[49:]], "val-00000-of-00001.tfrecord"),
        ([*rows, rows[-1]], "more rows than there are images"),
        (rows[:-1], "its rows are not those of the images of val-00000"),
    ):
        image_list.write(copy, damaged)
        (fault,) = _faults(copy)
        assert fault.startswith("images.csv: ")
        assert said.replace("of train", "of the images of train") in fault
    (copy / "images.csv").write_bytes(b"\xff")
    (fault,) = _faults(copy)
    assert "images.csv: damaged" in fault


def test_missing_and_extra(copy):
    (copy / SHARD).rename(copy / "spare")
    assert _faults(copy) == [f"{SHARD}: is missing"]
    (copy / "spare").rename(copy / "train-00007-of-00009.tfrecord")
    assert _faults(copy) == [
        f"{SHARD}: is missing",
        f"train-00007-of-00009.tfrecord: not in the manifest; it holds the content of {SHARD}",
    ]
    shutil.copy(copy / "train-00007-of-00009.tfrecord", copy / SHARD)
    assert _faults(copy) == ["train-00007-of-00009.tfrecord: not in the manifest; remove it"]


def test_swapped_between_splits(copy):
    for a, b in (
        (SHARD, "spare"),
        ("val-00000-of-00001.tfrecord", SHARD),
        ("spare", "val-00000-of-00001.tfrecord"),
    ):
        (copy / a).rename(copy / b)
    faults = _faults(copy)
    assert (
        f"{SHARD}: holds the content of val-00000-of-00001.tfrecord: shards were renamed or swapped"
        in faults
    )
    assert (
        f"val-00000-of-00001.tfrecord: holds the content of {SHARD}: shards were renamed or swapped"
        in faults
    )


def test_cut_anywhere(copy):
    data = (copy / SHARD).read_bytes()
    ends = _record_ends(data)
    assert len(ends) == 16 and ends[-1] == len(data)
    for end, whole in ((ends[4], 5), (ends[4] + 7, 5), (ends[4] + 100, None), (0, 0)):
        (copy / SHARD).write_bytes(data[:end])
        faults = _faults(copy)
        assert faults[0] == f"{SHARD}: has {end} bytes instead of {len(data)}"
        expected = (
            "record 5: damaged or cut off"
            if whole is None
            else f"holds {whole} records instead of 16"
        )
        assert expected in faults[1] and all(fault.startswith(SHARD) for fault in faults)
    (copy / SHARD).write_bytes(data + b"junk")
    assert _faults(copy)[0] == f"{SHARD}: has {len(data) + 4} bytes instead of {len(data)}"


@pytest.mark.parametrize(
    "where", [0, 7, 8, 11, 12, 500, -5, -4, -1], ids=lambda where: f"byte{where}"
)
def test_a_flipped_bit_anywhere_names_shard_and_record(copy, where):
    data = bytearray((copy / SHARD).read_bytes())
    ends = _record_ends(data)
    data[ends[8] + where if where >= 0 else ends[9] + where] ^= 4
    (copy / SHARD).write_bytes(data)
    faults = _faults(copy)
    assert "SHA-256" in faults[0]
    assert (
        faults[1] == f"{SHARD}: record 9: damaged or cut off, the rest of the shard cannot be read"
    )


def test_edited_manifests(copy):
    path = copy / "manifest.json"
    whole = json.loads(path.read_text())
    for edit in ({"kind": "features"}, {"info": {}}, {"splits": {}}, {"schema_version": 99}):
        path.write_text(json.dumps({**whole, **edit}))
        with pytest.raises(CorruptArtifactError, match=r"manifest\.json"):
            verification.verify(copy, num_workers=1)
    path.write_text("{")
    with pytest.raises(CorruptArtifactError, match=r"manifest\.json: damaged"):
        verification.verify(copy, num_workers=1)
    path.unlink()
    with pytest.raises(CorruptArtifactError, match="no manifest.json"):
        verification.verify(copy, num_workers=1)
    with pytest.raises(InputError, match="no such directory"):
        verification.verify(copy / "none", num_workers=1)


def test_a_flipped_bit_of_any_file_is_found(shapes_dir, tmp_path):
    """Also in those that TensorFlow Datasets reads, in the list of images and in the records of the
    run; a file that is gone or was not there is named.
    """
    copy = shutil.copytree(shapes_dir, tmp_path / "copy")
    result = verification.verify(copy, num_workers=1)
    assert result.faults == [] and result.not_judged == []
    names = {path.name for path in copy.iterdir() if path.name not in (".lock", ".holder")}
    assert {"dataset_info.json", "features.json", "images.csv", "metrics.json", "DONE"} <= names
    labels = [name for name in names if name.endswith(".labels.txt")]
    random = np.random.default_rng(0)
    digests = Digests(copy)
    for name in sorted(names - {path.name for path in copy.glob("*.tfrecord")}):
        content = (copy / name).read_bytes()
        for _ in range(5):
            damaged = bytearray(content)
            damaged[random.integers(len(content))] ^= 1 << random.integers(8)
            (copy / name).write_bytes(damaged)
            if name in ("manifest.json", "digests.json"):
                with contextlib.suppress(CorruptArtifactError):  # But for blanks between its words.
                    read = Digests(copy), Manifest.read(copy, "images", check_shards=False)
                    assert read[1] == Manifest.read(shapes_dir, "images")
                    assert read[0].faults() == [] or name == "manifest.json"
            else:
                assert digests.fault(name), name
        (copy / name).write_bytes(content)
    assert labels and verification.verify(copy, num_workers=1).faults == []
    (copy / labels[0]).write_bytes(b"cat\n")
    (copy / "features.json").unlink()
    (copy / "notes.txt").write_text("mine")
    result = verification.verify(copy, num_workers=1)
    assert result.not_judged == ["notes.txt"] and result.num_faults == 2
    assert result.faults == [
        "features.json: is missing",
        f"{labels[0]}: its content is not what was written; it was edited or damaged",
    ]
    (copy / "digests.json").unlink()  # As in a directory of version 0.1.
    result = verification.verify(copy, num_workers=1)
    assert result.faults == [] and {"images.csv", "notes.txt"} <= set(result.not_judged)
    assert not {path.name for path in copy.glob("*.tfrecord")} & set(result.not_judged)


def test_the_directory_of_a_run_without_shards(tmp_path):
    with Workdir(
        tmp_path / "run", inputs={}, settings=Values("ccssl_tf.x", [CommandSettings()])
    ) as workdir:
        (workdir.path / "pictures").mkdir()
        (workdir.path / "pictures" / "a.png").write_bytes(b"png")
        workdir.finish(metrics=dict(accuracy=0.5))
    result = verification.verify(workdir.path, num_workers=1)
    assert (result.faults, result.not_judged, result.summary) == ([], [], "6 files")
    (workdir.path / "pictures" / "a.png").write_bytes(b"pmg")
    (fault,) = verification.verify(workdir.path, num_workers=1).faults
    assert fault.startswith("pictures/a.png: its content is not what was written")


def test_counts_edited_under_an_old_manifest_without_checksum(copy):
    raw = json.loads((copy / "manifest.json").read_text())
    del raw["checksum"]
    raw["splits"]["train"][1]["num_examples"] = 17
    (copy / "manifest.json").write_text(json.dumps(raw))
    assert f"{SHARD}: holds 16 records instead of 17" in _faults(copy)


def test_indices_must_be_dense(tmp_path):
    """The records are whole, but two shards are of one numbering."""
    manifest = write_images(tmp_path, {"train": [3, 3]})
    first, second = manifest.splits["train"]
    shutil.copy(tmp_path / first.name, tmp_path / second.name)
    shards = [first, type(first)(second.name, first.num_examples, first.num_bytes, first.sha256)]
    Manifest("images", {"train": shards}, manifest.info).write(tmp_path)
    faults = _faults(tmp_path)
    assert [fault.split(": ", 1)[1] for fault in faults] == [
        f"record {i}: image index {i} is there twice" for i in range(3)
    ]
    shutil.copy(tmp_path / first.name, tmp_path / "gap")
    write_images(tmp_path / "other", {"train": [3, 3]})
    second = Manifest.read(tmp_path / "other", "images").splits["train"][1]
    shutil.copy(tmp_path / "other" / second.name, tmp_path / second.name)
    (tmp_path / first.name).unlink()
    Manifest("images", {"train": [second]}, manifest.info).write(tmp_path)
    assert f"{second.name}: record 0: image index 3 lies outside [0, 3)" in _faults(tmp_path)


def test_pseudo_labels_and_features(tmp_path):
    from ccssl_tf.clustering.pseudo_labels import PseudoLabels, write_pseudo_labels
    from ccssl_tf.data import records

    index = np.random.default_rng(0).permutation(40)
    labels = PseudoLabels("f" * 64, index, (index % 3).astype(np.int32), np.ones(40, np.float32))
    write_pseudo_labels(tmp_path, {"train": labels}, num_clusters=3)
    result = verification.verify(tmp_path, num_workers=1)
    assert (result.faults, result.summary.split(" in ")[0]) == ([], "40 train labels")
    directory = tmp_path / "features"
    directory.mkdir()
    blocks = [
        records.feature_example(part, np.ones((len(part), 6), np.float32))
        for part in (index[:25], index[25:])
    ]
    shard = records.write_shard(directory / "train-00000-of-00001.tfrecord", blocks, 40)
    Manifest("features", {"train": [shard]}, dict(dim=6, dtype="float32")).write(directory)
    result = verification.verify(directory, num_workers=1)
    assert (result.faults, result.summary.split(" in ")[0]) == ([], "40 train rows")
    blocks[1] = records.feature_example(index[:15], np.ones((15, 6), np.float32))
    shard = records.write_shard(directory / "train-00000-of-00001.tfrecord", blocks, 40)
    Manifest("features", {"train": [shard]}, dict(dim=6, dtype="float32")).write(directory)
    result = verification.verify(directory, num_workers=1)
    assert (
        result.num_faults == 15
        and result.faults[0] == f"{shard.name}: record 1: image index {index[0]} is there twice"
    )


def test_the_metadata_for_tfds_must_agree(copy):
    info = {
        "splits": [
            {"name": "train", "shardLengths": ["16", "16", "16"]},
            {"name": "val", "shardLengths": ["16"]},
        ]
    }
    (copy / "dataset_info.json").write_text(json.dumps(info))
    assert _faults(copy) == []
    info["splits"][0]["shardLengths"][0] = "15"
    for text in (json.dumps(info), "{", "[]"):
        (copy / "dataset_info.json").write_text(text)
        assert "dataset_info.json" in _faults(copy)[0]
