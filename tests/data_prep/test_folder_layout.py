import os
import tarfile

import pytest

from ccssl_tf.runs.errors import InputError
from data_prep import folder_layout

DEFAULTS = dict(labels="auto", val_fraction=0.0, classes=None, seed=0)


def _tree(root, names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(os.fsencode(name))
    return root


def _names(image_set):
    return {
        split: {item.name.decode(): item.label for item in items}
        for split, items in image_set.splits.items()
    }


def test_class_folders_give_labels(tmp_path, capsys):
    _tree(tmp_path, ["cat/1.jpg", "cat/deep/er/2.PNG", "ant/3.jpeg", "notes.txt", "cat/x.json"])
    image_set = folder_layout.list_images(tmp_path, **DEFAULTS)
    assert image_set.class_names == ["ant", "cat"]
    assert _names(image_set) == {"train": {"cat/1.jpg": 1, "cat/deep/er/2.PNG": 1, "ant/3.jpeg": 0}}
    assert "ignoring 2 files" in capsys.readouterr().out
    assert {image_set.read(item.location) for item in image_set.splits["train"]} == {
        b"cat/1.jpg",
        b"cat/deep/er/2.PNG",
        b"ant/3.jpeg",
    }


@pytest.mark.parametrize(
    "names", [["a.jpg", "b.jpg"], ["one/a.jpg", "one/b.jpg"], ["a.jpg", "x/b.jpg", "y/c.jpg"]]
)
def test_auto_goes_without_labels_where_folders_are_no_classes(tmp_path, names):
    image_set = folder_layout.list_images(_tree(tmp_path, names), **DEFAULTS)
    assert image_set.class_names is None
    assert set(_names(image_set)["train"].values()) == {-1}


def test_labels_can_be_forced_or_refused(tmp_path):
    _tree(tmp_path, ["x/a.jpg", "y/b.jpg"])
    assert folder_layout.list_images(tmp_path, **{**DEFAULTS, "labels": "none"}).class_names is None
    _tree(tmp_path, ["c.jpg"])
    with pytest.raises(InputError, match="c.jpg lies in no class folder"):
        folder_layout.list_images(tmp_path, **{**DEFAULTS, "labels": "folders"})


def test_existing_splits_are_kept(tmp_path):
    _tree(tmp_path, ["train/x/a.jpg", "train/y/b.jpg", "validation/x/c.jpg", "test/y/d.jpg"])
    image_set = folder_layout.list_images(tmp_path, **{**DEFAULTS, "val_fraction": 0.5})
    assert image_set.class_names == ["x", "y"]
    assert _names(image_set) == {
        "train": {"train/x/a.jpg": 0, "train/y/b.jpg": 1},
        "val": {"validation/x/c.jpg": 0},
        "test": {"test/y/d.jpg": 1},
    }
    _tree(tmp_path, ["val/x/e.jpg"])
    with pytest.raises(InputError, match="two folders for the split 'val'"):
        folder_layout.list_images(tmp_path, **DEFAULTS)


def test_a_class_called_train_is_a_class(tmp_path):
    assert folder_layout.list_images(
        _tree(tmp_path, ["train/a.jpg", "car/b.jpg"]), **DEFAULTS
    ).class_names == ["car", "train"]


def test_classes_without_training_images_are_refused(tmp_path):
    _tree(tmp_path, ["train/x/a.jpg", "train/y/b.jpg", "val/z/c.jpg"])
    with pytest.raises(InputError, match="without training images: z"):
        folder_layout.list_images(tmp_path, **DEFAULTS)


def test_the_class_list_fixes_the_numbers(tmp_path):
    _tree(tmp_path, ["b/1.jpg", "a/2.jpg"])
    (tmp_path / "classes.txt").write_bytes(
        b"\xef\xbb\xbfc\r\nb\r\n\r\na\r\n"
    )  # As Windows writes it.
    classes = folder_layout.read_classes(tmp_path / "classes.txt")
    image_set = folder_layout.list_images(tmp_path, **{**DEFAULTS, "classes": classes})
    assert (image_set.class_names, _names(image_set)["train"]) == (
        ["c", "b", "a"],
        {"a/2.jpg": 2, "b/1.jpg": 1},
    )
    with pytest.raises(InputError, match="unknown classes, not in the --classes file: a"):
        folder_layout.list_images(tmp_path, **{**DEFAULTS, "classes": ["b"]})
    for content, message in {"a\na\n": "comes twice", "\n": "holds no class names"}.items():
        (tmp_path / "classes.txt").write_text(content)
        with pytest.raises(InputError, match=message):
            folder_layout.read_classes(tmp_path / "classes.txt")
    with pytest.raises(InputError, match="nothing.txt"):
        folder_layout.read_classes(tmp_path / "nothing.txt")


def test_val_fraction_is_a_seeded_choice(tmp_path):
    _tree(tmp_path, [f"{i:03}.jpg" for i in range(50)])
    choices = [
        _names(
            folder_layout.list_images(tmp_path, **{**DEFAULTS, "val_fraction": 0.2, "seed": seed})
        )
        for seed in (0, 0, 1)
    ]
    assert choices[0] == choices[1] != choices[2]
    for choice in choices:
        assert len(choice["val"]) == 10
        assert not choice["val"].keys() & choice["train"].keys()
        assert len(choice["val"]) + len(choice["train"]) == 50


def test_sources_without_enough_images_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds no images"):
        folder_layout.list_images(tmp_path, **DEFAULTS)
    _tree(tmp_path, ["a.jpg"])
    with pytest.raises(InputError, match="too few for --val_fraction"):
        folder_layout.list_images(tmp_path, **{**DEFAULTS, "val_fraction": 0.1})


def test_a_tar_is_listed_like_its_tree(tmp_path):
    _tree(tmp_path / "tree", ["x/a.jpg", "y/b.jpg", "y/c/d.jpg", "readme.txt"])
    with tarfile.open(tmp_path / "tree.tar", "w") as archive:
        archive.add(tmp_path / "tree", ".")
    from_tree, from_tar = (
        folder_layout.list_images(tmp_path / name, **DEFAULTS) for name in ("tree", "tree.tar")
    )
    assert _names(from_tree) == _names(from_tar)
    assert [from_tree.read(i.location) for i in from_tree.splits["train"]] == [
        from_tar.read(i.location) for i in from_tar.splits["train"]
    ]


def test_one_class_links_and_odd_names(tmp_path):
    _tree(tmp_path / "elsewhere", ["deep/er/1.jpg"])
    source = _tree(
        tmp_path / "source",
        ["only/ .jpg", "only/a\nb.jpg", "only/-rf.jpg", "only/.hidden.jpg", "only/\udcff.jpg"],
    )
    (source / "only/linked").symlink_to(tmp_path / "elsewhere/deep")
    (source / "only/loop").symlink_to(source / "only")
    image_set = folder_layout.list_images(source, **{**DEFAULTS, "labels": "folders"})
    assert image_set.class_names == ["only"]
    found = {item.name: item.label for item in image_set.splits["train"]}
    assert found == dict.fromkeys(
        (
            b"only/ .jpg",
            b"only/a\nb.jpg",
            b"only/-rf.jpg",
            b"only/\xff.jpg",
            b"only/linked/er/1.jpg",
        ),
        0,
    )
