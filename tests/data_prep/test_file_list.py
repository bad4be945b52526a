import pytest

from ccssl_tf.runs.errors import InputError
from data_prep import file_list, folder_layout

NAMES = {b"a.jpg", b"x/b c.jpg", b"x/d", b"\xff\xe9.jpg", b"e,f.jpg", b" g.jpg"}


def _read(tmp_path, content, name="list.txt"):
    (tmp_path / name).write_bytes(content)
    return file_list.read_list(tmp_path / name, NAMES)


@pytest.mark.parametrize(
    "content, expected",
    [
        (b"a.jpg\nx/b c.jpg\n\nx/d", {b"a.jpg": None, b"x/b c.jpg": None, b"x/d": None}),
        (b"a.jpg cat\r\nx/b c.jpg  dog \n", {b"a.jpg": "cat", b"x/b c.jpg": "dog"}),
        (
            b"./a.jpg\tblack cat\n\xff\xe9.jpg\tcaf\xc3\xa9\n",
            {b"a.jpg": "black cat", b"\xff\xe9.jpg": "café"},
        ),
        (b" g.jpg\n", {b" g.jpg": None}),
        (b"\xef\xbb\xbfa.jpg 1\r\nx/d 2\r\n", {b"a.jpg": "1", b"x/d": "2"}),
    ],
    ids=["names", "labels", "tabs", "leading blank", "byte order mark"],
)
def test_text(tmp_path, content, expected):
    assert _read(tmp_path, content) == expected


@pytest.mark.parametrize(
    "content, expected",
    [
        (b'filename,label\na.jpg,cat\n"e,f.jpg",dog\n', {b"a.jpg": "cat", b"e,f.jpg": "dog"}),
        (b"\xef\xbb\xbflabel,filename,other\r\n3,a.jpg,z\r\n", {b"a.jpg": "3"}),
        (b"filename\n\xff\xe9.jpg\nx/b c.jpg\n", {b"\xff\xe9.jpg": None, b"x/b c.jpg": None}),
    ],
    ids=["labels", "columns", "names"],
)
def test_csv(tmp_path, content, expected):
    assert _read(tmp_path, content, "list.csv") == expected


@pytest.mark.parametrize(
    "name, content",
    [
        ("list.txt", b"a.jpg caf\xe9\nx/d caf\xe8\n"),
        ("list.csv", b"filename,label\na.jpg,caf\xe9\nx/d,caf\xe8\n"),
    ],
)
def test_labels_that_are_not_utf8_stay_apart_and_can_be_written(tmp_path, name, content):
    labels = _read(tmp_path, content, name)
    assert labels == {b"a.jpg": r"caf\udce9", b"x/d": r"caf\udce8"}
    assert all(label.encode() for label in labels.values())


@pytest.mark.parametrize(
    "name, content, message",
    [
        (
            "list.txt",
            b"a.jpg\nnone.jpg\nx/no ne.jpg 3\n",
            r"2 of 3 images .* none.jpg \(line 2\), x/no ne.jpg \(line 3\)",
        ),
        ("list.txt", b"a.jpg\n\na.jpg\n", r"line 3: a.jpg is listed twice \(before: line 1\)"),
        ("list.txt", b"a.jpg cat\nx/d\n", "line 2: x/d has no label"),
        ("list.txt", b"\n", "names no images"),
        ("list.csv", b"", "expected the header"),
        ("list.csv", b"file,label\na.jpg,1\n", "expected the header"),
        ("list.csv", b"filename,label\na.jpg\n", "line 2: expected 2 fields"),
        ("list.csv", b"filename,label\na.jpg,1,2\n", "line 2: expected 2 fields"),
        ("list.csv", b'filename,label\n"a.jpg,1\n', "no csv"),
        ("list.csv", b"filename,label\na.jpg,1\nz.jpg,2\n", r"z.jpg \(line 3\)"),
    ],
)
def test_malformed_lists_are_refused(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        _read(tmp_path, content, name)


def test_twenty_missing_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"25 of 25 images .* n19.jpg \(line 20\) and 5 more$"):
        _read(tmp_path, b"".join(b"n%d.jpg\n" % i for i in range(25)))


@pytest.mark.parametrize(
    "labels, classes, names, numbers",
    [
        (["cat", "ant"], None, ["ant", "cat"], [1, 0]),
        (["cat", "ant"], ["cat", "bee", "ant"], ["cat", "bee", "ant"], [0, 2]),
        (["3", "10", "0"], None, [str(i) for i in range(11)], [3, 10, 0]),
        (["2", "0"], ["a", "b", "c"], ["a", "b", "c"], [2, 0]),
        (["9", "8"], ["9", "8", "7"], ["9", "8", "7"], [0, 1]),
        (["only"], None, ["only"], [0]),
    ],
)
def test_numbers_of_labels(labels, classes, names, numbers):
    found, number_of = file_list.number_labels(dict(enumerate(labels)), classes)
    assert found == names and [number_of[label] for label in labels] == numbers


@pytest.mark.parametrize(
    "label, classes, message",
    [
        ("3", ["a", "b", "c"], "label 3, but there are 3 classes"),
        ("z", ["a"], "unknown classes"),
        ("10000000", None, "at most 1000000 classes"),
    ],
)
def test_labels_out_of_range_are_refused(label, classes, message):
    with pytest.raises(InputError, match=message):
        file_list.number_labels({b"x": label}, classes)


def test_only_the_listed_images_are_taken(tmp_path):
    source = tmp_path / "source"
    for name in ("cat/1.jpg", "cat/2 b.jpg", "ant/3", "ant/4.jpg"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(b"x")
    (tmp_path / "list.txt").write_text("ant/3 red\ncat/2 b.jpg green\ncat/1.jpg red\n")
    options = dict(val_fraction=0.0, classes=None, seed=0, list_path=tmp_path / "list.txt")
    for labels, classes, expected in (
        ("auto", ["green", "red"], [1, 1, 0]),
        ("folders", ["ant", "cat"], [0, 1, 1]),
        ("none", None, [-1, -1, -1]),
    ):
        image_set = folder_layout.list_images(source, labels=labels, **options)
        assert image_set.class_names == classes
        assert [(item.name, item.label) for item in image_set.splits["train"]] == list(
            zip([b"ant/3", b"cat/1.jpg", b"cat/2 b.jpg"], expected, strict=True)
        )
    (tmp_path / "list.txt").write_text("ant/4.jpg\nant/5.jpg\n")
    with pytest.raises(InputError, match=r"ant/5.jpg \(line 2\)"):
        folder_layout.list_images(source, labels="auto", **options)
