import os
import tarfile

import pytest

from ccssl_tf.runs.errors import InputError
from data_prep import class_file, folder_layout

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
    classes = class_file.read_classes(tmp_path / "classes.txt")
    image_set = folder_layout.list_images(tmp_path, **{**DEFAULTS, "classes": classes})
    assert (image_set.class_names, _names(image_set)["train"]) == (
        ["c", "b", "a"],
        {"a/2.jpg": 2, "b/1.jpg": 1},
    )
    with pytest.raises(InputError, match="unknown classes, not in the --classes file: a"):
        folder_layout.list_images(tmp_path, **{**DEFAULTS, "classes": ["b"]})


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


BASE = (
    *("train/a/1.jpg", "train/a/2.jpg", "train/b/3.jpg", "train/b/4.jpg"),
    *("val/a/5.jpg", "val/b/6.jpg"),
)
LABELS = {
    "train": {"train/a/1.jpg": 0, "train/a/2.jpg": 0, "train/b/3.jpg": 1, "train/b/4.jpg": 1},
    "val": {"val/a/5.jpg": 0, "val/b/6.jpg": 1},
}


def _spelled(name, train, val):
    return name.replace("train/", f"{train}/").replace("val/", f"{val}/")


@pytest.mark.parametrize(
    "train, val",
    [("Train", "Val"), ("training", "VALID"), ("TRAIN", "validation"), ("train_set", "dev")],
)
def test_split_folders_in_any_spelling(tmp_path, train, val):
    names = [_spelled(name, train, val) for name in BASE]
    image_set = folder_layout.list_images(
        _tree(tmp_path, names), **{**DEFAULTS, "val_fraction": 0.1}
    )
    assert image_set.class_names == ["a", "b"]
    assert _names(image_set) == {
        split: {_spelled(name, train, val): label for name, label in images.items()}
        for split, images in LABELS.items()
    }


@pytest.mark.parametrize(
    "beside, left_out, more",
    [
        (["overview.jpg"], "1 images beside them, the first overview.jpg", {}),
        (["extra/c/7.jpg", "extra/8.jpg"], "2 images beside them, the first extra/8.jpg", {}),
        (["raw/a/7.jpg", "z.png"], "2 images beside them, the first raw/a/7.jpg", {}),
        (["unlabeled/7.jpg"], "", {"unlabeled": {"unlabeled/7.jpg": -1}}),
        (["test/7.jpg"], "", {"test": {"test/7.jpg": -1}}),
        (["test/images/7.jpg"], "", {"test": {"test/images/7.jpg": -1}}),
        (["Test/b/7.jpg"], "", {"test": {"Test/b/7.jpg": 1}}),
    ],
)
def test_splits_stay_splits_whatever_lies_beside_them(tmp_path, capsys, beside, left_out, more):
    image_set = folder_layout.list_images(_tree(tmp_path, [*BASE, *beside]), **DEFAULTS)
    output = capsys.readouterr().out
    assert image_set.class_names == ["a", "b"]
    assert _names(image_set) == LABELS | more
    assert "are the splits" in output
    assert (f"leaving out {left_out}" in output) if left_out else "leaving out" not in output
    assert ("no labels for the images of" in output) == ("-1" in str(more))


def test_a_stray_picture_costs_its_split_the_labels_and_this_is_said(tmp_path, capsys):
    names = [*BASE, "val/stray.jpg"]
    image_set = folder_layout.list_images(_tree(tmp_path / "val", names), **DEFAULTS)
    assert _names(image_set)["train"] == LABELS["train"]
    assert set(_names(image_set)["val"].values()) == {-1}
    assert "val/stray.jpg lies in no class folder" in capsys.readouterr().out
    names = [*BASE, "train/stray.jpg"]
    image_set = folder_layout.list_images(_tree(tmp_path / "train", names), **DEFAULTS)
    assert image_set.class_names is None
    assert "train/stray.jpg lies in no class folder" in capsys.readouterr().out


def test_one_folder_called_like_a_split_may_be_a_class(tmp_path):
    names = ["test/1.jpg", "cat/2.jpg", "dog/3.jpg"]
    with pytest.raises(InputError, match="test may be a split.*--split_folders=yes or no"):
        folder_layout.list_images(_tree(tmp_path, names), **DEFAULTS)
    as_class = folder_layout.list_images(tmp_path, **DEFAULTS, split_folders="no")
    assert as_class.class_names == ["cat", "dog", "test"] and list(as_class.splits) == ["train"]
    as_split = folder_layout.list_images(tmp_path, **DEFAULTS, split_folders="yes")
    assert as_split.class_names == ["cat", "dog"]
    assert _names(as_split) == {
        "train": {"cat/2.jpg": 0, "dog/3.jpg": 1},
        "test": {"test/1.jpg": -1},
    }


def test_a_lone_test_folder_is_a_split(tmp_path):
    image_set = folder_layout.list_images(
        _tree(tmp_path, ["test/a/1.jpg", "test/b/2.jpg"]), **{**DEFAULTS, "val_fraction": 0.5}
    )
    assert image_set.class_names == ["a", "b"]
    assert _names(image_set) == {"test": {"test/a/1.jpg": 0, "test/b/2.jpg": 1}}


def test_links_to_folders(tmp_path, capsys):
    source = _tree(tmp_path / "splits", [*BASE[:4], "test/a/5.jpg", "test/b/6.jpg"])
    (source / "val").symlink_to("test")
    names = _names(folder_layout.list_images(source, **{**DEFAULTS, "val_fraction": 0.5}))
    assert names["val"] == {"val/a/5.jpg": 0, "val/b/6.jpg": 1}
    assert names["test"] == {"test/a/5.jpg": 0, "test/b/6.jpg": 1}
    capsys.readouterr()
    source = _tree(tmp_path / "classes", ["a/1.jpg", "b/2.jpg"])
    (source / "a/up").symlink_to("..")
    (source / "a/again").symlink_to("../a")
    assert _names(folder_layout.list_images(source, **DEFAULTS))["train"] == {
        "a/1.jpg": 0,
        "b/2.jpg": 1,
    }
    assert "skipping 2 links to folders that are read anyway" in capsys.readouterr().out


@pytest.mark.parametrize(
    "folder", ["@eaDir", ".thumbnails", "__MACOSX", "#recycle", "$RECYCLE.BIN", "lost+found"]
)
@pytest.mark.parametrize("in_tar", [False, True])
def test_system_folders_are_skipped_and_counted(tmp_path, capsys, folder, in_tar):
    names = [f"a/{folder}/1.jpg/thumb.jpg", f"{folder}/2.jpg"]
    source = _tree(tmp_path / "tree", ["a/1.jpg", "b/2.jpg", *names])
    if in_tar:
        with tarfile.open(tmp_path / "tree.tar", "w") as archive:
            archive.add(source, ".")
        source = tmp_path / "tree.tar"
    image_set = folder_layout.list_images(source, **DEFAULTS)
    assert image_set.class_names == ["a", "b"]
    assert _names(image_set) == {"train": {"a/1.jpg": 0, "b/2.jpg": 1}}
    assert f"skipping 2 hidden or system folders ({folder} 2)" in capsys.readouterr().out


def test_splits_and_labels_of_a_list(tmp_path):
    source = _tree(tmp_path / "source", ["a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg"])
    path = tmp_path / "list.csv"
    options = {**DEFAULTS, "list_path": path}
    path.write_text(
        "filename,label,split\na/1.jpg,cat,train\na/2.jpg,dog,Train\nb/3.jpg,cat,validation\n"
        "b/4.jpg,dog,test\n"
    )
    image_set = folder_layout.list_images(source, **{**options, "val_fraction": 0.5})
    assert image_set.class_names == ["cat", "dog"]
    assert _names(image_set) == {
        "train": {"a/1.jpg": 0, "a/2.jpg": 1},
        "val": {"b/3.jpg": 0},
        "test": {"b/4.jpg": 1},
    }
    path.write_text("path;SUBSET\na/1.jpg;train\nb/3.jpg;train\nb/4.jpg;val\n")
    image_set = folder_layout.list_images(source, **options)
    assert image_set.class_names == ["a", "b"]
    assert _names(image_set) == {"train": {"a/1.jpg": 0, "b/3.jpg": 1}, "val": {"b/4.jpg": 1}}
    path.write_text("filename,label\na/1.jpg,2\na/2.jpg,10\nb/3.jpg,0\nb/4.jpg,-1\n")
    image_set = folder_layout.list_images(source, **options)
    assert image_set.class_names == [str(number) for number in range(11)]
    assert list(_names(image_set)["train"].values()) == [2, 10, 0, -1]


def test_links_that_lead_nowhere_are_skipped_and_counted(tmp_path, capsys):
    source = _tree(tmp_path / "source", ["a/1.jpg", "b/2.jpg"])
    for name in ("a/gone.jpg", "b/gone.jpg"):
        (source / name).symlink_to(tmp_path / "nowhere")
    image_set = folder_layout.list_images(source, **DEFAULTS)
    assert _names(image_set) == {"train": {"a/1.jpg": 0, "b/2.jpg": 1}}
    assert "skipping 2 links that lead nowhere (first: " in capsys.readouterr().out


def test_what_is_taken_for_classes_is_said(tmp_path, capsys):
    source = _tree(tmp_path / "source", ["2019/1.jpg", "2020/2.jpg"])
    folder_layout.list_images(source, **DEFAULTS)
    assert "the folders are its 2 classes: 2019, 2020\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "advice"),
    [
        (["photos.tar"], "an archive is named itself: --source=.*/photos.tar"),
        (["photos.zip"], "unpack the .zip first"),
        (["readme.txt"], "heif.$"),
    ],
)
def test_a_source_without_images_says_what_may_be_meant(tmp_path, names, advice):
    with pytest.raises(InputError, match=advice):
        folder_layout.list_images(_tree(tmp_path / "source", names), **DEFAULTS)


def test_files_that_are_no_images_are_counted_by_kind(tmp_path, capsys):
    names = ["1.jpg", "._1.jpg", "._2.jpg", *(f"x.{suffix}" for suffix in "abcdef")]
    folder_layout.list_images(_tree(tmp_path / "source", names), **DEFAULTS)
    said = capsys.readouterr().out
    assert "ignoring 8 files that are no images (hidden 2, .a 1," in said and ", ...)" in said
