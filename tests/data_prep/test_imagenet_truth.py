import io
import tarfile

import numpy as np
import pytest
import scipy.io

from ccssl_tf.runs.errors import CcsslError, InputError
from data_prep.imagenet_truth import GROUND_TRUTH, read_words, validation_classes

WNIDS = ["n00000001", "n00000002", "n00000003"]
# ILSVRC2012_ID is not the sorted order: these are the ids of WNIDS.
DEVKIT_IDS = [2, 3, 1]
LABELS = [2, 0, 1, 1]
TEXT_NAMES = [f"ILSVRC2012_val_{k:08d}.JPEG" for k in range(1, 5)]
NAMES = [name.encode() for name in TEXT_NAMES]
CLASSES = {name: WNIDS[label] for name, label in zip(NAMES, LABELS, strict=True)}


def _meta():
    # The kit lists inner nodes of the hierarchy too, with ids above the leaves'.
    rows = [(wnid_id, wnid, "words") for wnid_id, wnid in zip(DEVKIT_IDS, WNIDS, strict=True)] + [
        (4, "n00000009", "inner")
    ]
    synsets = np.array(rows, [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")]).reshape(-1, 1)
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"synsets": synsets})
    return buffer.getvalue()


def _ground_truth(ids):
    return "".join(f"{ids[label]}\n" for label in LABELS).encode()


def _packed(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _val_txt(labels=LABELS):
    return "".join(
        f"{name} {label}\n" for name, label in zip(TEXT_NAMES, labels, strict=True)
    ).encode()


def _csv(labels=LABELS):
    return (
        "filename,wnid\n"
        + "".join(
            f"{name},{WNIDS[label]}\n" for name, label in zip(TEXT_NAMES, labels, strict=True)
        )
    ).encode()


KIT = {
    "ILSVRC2012_devkit_t12/data/meta.mat": _meta(),
    f"ILSVRC2012_devkit_t12/data/{GROUND_TRUTH}": _ground_truth(DEVKIT_IDS),
}
KAGGLE = "".join(
    f"{name[:-5]},{WNIDS[label]} 1 2 3 4 \n" for name, label in zip(TEXT_NAMES, LABELS, strict=True)
).encode()
ANNOTATIONS = "".join(
    f"{name}\t{WNIDS[label]}\t0\t32\t44\t62\n"
    for name, label in zip(TEXT_NAMES, LABELS, strict=True)
).encode()
OTHERS = b"val_0.JPEG\tn00000001\t0\t0\t9\t9\n"
BARE = {GROUND_TRUTH: _ground_truth([1, 2, 3])}
SOURCES = {
    "packed_devkit": {"ILSVRC2012_devkit_t12.tar.gz": _packed(KIT)},
    "devkit": KIT,
    "meta": {"meta.mat": _meta(), GROUND_TRUTH: _ground_truth(DEVKIT_IDS)},
    "val_txt": {"val.txt": _val_txt()},
    "csv": {"val_labels.csv": _csv()},
    "kaggle_csv": {"LOC_val_solution.csv": b"ImageId,PredictionString\n" + KAGGLE},
    "bare_beside_val_txt": {**BARE, "val.txt": _val_txt()},
    "tiny": {"val_annotations.txt": ANNOTATIONS},
    "another_tiny_beside_val_txt": {"val_annotations.txt": OTHERS, "val.txt": _val_txt()},
    "mark_of_utf8": {"val.txt": b"\xef\xbb\xbf" + _val_txt()},
    "utf16_csv": {"val_labels.csv": _csv().decode().encode("utf-16")},
    "utf16_ground_truth": {
        "meta.mat": _meta(),
        GROUND_TRUTH: _ground_truth(DEVKIT_IDS).decode().encode("utf-16"),
    },
}


def _write(root, files):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


@pytest.mark.parametrize("kind", SOURCES)
def test_every_truth_gives_the_same_classes(tmp_path, kind):
    found = validation_classes([_write(tmp_path, SOURCES[kind])], NAMES, WNIDS, "devkit")
    assert {name: found[name] for name in NAMES} == CLASSES


def test_a_bare_ground_truth_is_refused_unless_said_what_it_is(tmp_path):
    _write(tmp_path, BARE)
    with pytest.raises(InputError, match="--ground_truth_ids=synsets"):
        validation_classes([tmp_path], NAMES, WNIDS, "devkit")
    assert validation_classes([tmp_path], NAMES, WNIDS, "synsets") == CLASSES
    (tmp_path / "synsets.txt").write_text("\n".join(reversed(WNIDS)))
    assert list(validation_classes([tmp_path], NAMES, WNIDS, "synsets").values()) == [
        WNIDS[2 - label] for label in LABELS
    ]


def test_without_any_truth_there_are_no_classes(tmp_path, capsys):
    assert validation_classes([tmp_path], NAMES, WNIDS, "devkit") is None
    assert "stay unlabelled" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"val.txt": _val_txt([2, 0, 1, 3])}, "label 3, but there are 3 classes"),
        ({"val.txt": b"one two three\n"}, "expected lines of"),
        ({"val.txt": b"".join(_val_txt().splitlines(keepends=True)[:3])}, "no class for 1 images"),
        (
            {"val_labels.csv": _csv().replace(WNIDS[1].encode(), b"n00000008")},
            "without training images: n00000008",
        ),
        (
            {"val.txt": _val_txt(), "val_labels.csv": _csv([2, 0, 1, 0])},
            "disagree about 1 images, the first ILSVRC2012_val_00000004",
        ),
        ({"meta.mat": _meta(), GROUND_TRUTH: b"2\n3\n"}, "2 lines for 4 images"),
        ({"meta.mat": _meta(), GROUND_TRUTH: b"2\n3\n7\n1\n"}, "not one known class number a line"),
        ({"val_annotations.txt": OTHERS}, "no class for 4 images"),
        ({"val_annotations.txt": b"other.JPEG cat\n"}, "line 1: expected an image and its wnid"),
        ({"meta.mat": b"no mat", GROUND_TRUTH: _ground_truth(DEVKIT_IDS)}, "meta.mat"),
        ({"ILSVRC2012_devkit_t12.tar.gz": _packed(KIT)[:200]}, "not a whole archive"),
        ({"ILSVRC2012_devkit_t12.tar.gz": _packed({"readme": b""})}, "holds no meta.mat"),
    ],
)
def test_truths_that_do_not_fit_are_refused(tmp_path, files, message):
    with pytest.raises(CcsslError, match=message):
        validation_classes([_write(tmp_path, files)], NAMES, WNIDS, "devkit")


def test_words_follow_the_classes(tmp_path):
    assert read_words([tmp_path], WNIDS) is None
    (tmp_path / "words.txt").write_bytes(b"n00000001\tone, uno\nn00000003\tcaf\xe9\n")
    assert read_words([tmp_path], WNIDS) == ["one, uno", "", "caf\ufffd"]


@pytest.mark.parametrize("name", ["LOC_synset_mapping.txt", "synset_words.txt"])
def test_words_between_blanks(tmp_path, name):
    (tmp_path / name).write_text("n00000001 one, uno\nn00000003 three\n")
    assert read_words([tmp_path], WNIDS) == ["one, uno", "", "three"]
