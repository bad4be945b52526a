import pytest

from ccssl_tf.runs.errors import InputError
from data_prep import file_list, folder_layout

NAMES = {b"a.jpg", b"x/b c.jpg", b"x/d", b"\xff\xe9.jpg", b"e,f.jpg", b" g.jpg"}


def _read(tmp_path, content, name="list.txt"):
    (tmp_path / name).write_bytes(content)
    return file_list.read_list(tmp_path / name, NAMES).labels


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
        (b"filename,class\na.jpg,cat\n", {b"a.jpg": "cat"}),
        (b"Image,Label\na.jpg, cat \n", {b"a.jpg": "cat"}),
        (b"label ; File Path\ncat;a.jpg\n", {b"a.jpg": "cat"}),
        (b"img_path\tcategory_name\r\ne,f.jpg\tcat\r\n", {b"e,f.jpg": "cat"}),
        ("filename,label\r\na.jpg,caf\u00e9\r\n".encode("utf-16"), {b"a.jpg": "caf\u00e9"}),
    ],
    ids=[
        *(
            "labels",
            "columns",
            "names",
            "class",
            "capitals",
            "semicolons, blanks",
            "tabs",
            "UTF-16",
        ),
    ],
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
        ("list.csv", b"photo,label\na.jpg,1\n", "expected the header"),
        ("list.csv", b"filename,label\na.jpg\n", "line 2: expected 2 fields"),
        ("list.csv", b"filename,label\na.jpg,1,2\n", "line 2: expected 2 fields"),
        ("list.csv", b'filename,label\n"a.jpg,1\n', "no csv"),
        ("list.csv", b"filename,label\na.jpg,1\nz.jpg,2\n", r"z.jpg \(line 3\)"),
        (
            "list.csv",
            b"filename,label,class\na.jpg,1,2\n",
            "'label', 'class' may all be the labels",
        ),
        ("list.csv", b"path,image,label\na.jpg,1,2\n", "'path', 'image' may all be the file names"),
        ("list.csv", b"filename,split\na.jpg,part 1\n", "line 2: split 'part 1'; expected train"),
        (
            "list.csv",
            b"filename,label\na.jpg,\nz.jpg,1\nx/d\nx/d,2\nx/d,2\n",
            r"4 faults: line 4: expected 2 fields.*; line 6: x/d is listed twice.*; "
            r"1 of 3 images .* z.jpg \(line 3\); line 2: a.jpg has no label",
        ),
    ],
)
def test_malformed_lists_are_refused(tmp_path, name, content, message):
    with pytest.raises(InputError, match=message):
        _read(tmp_path, content, name)


def test_twenty_missing_files_are_named(tmp_path):
    with pytest.raises(
        InputError, match=r"25 of 25 images .* n19.jpg \(line 20\) and 5 more; mend the list$"
    ):
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
        (["2", "10", "0", "-1"], None, [str(i) for i in range(11)], [2, 10, 0, -1]),
        (["2.0", "0", "-1.0"], None, ["0", "1", "2"], [2, 0, -1]),
        (["1.0", "0.0"], ["1", "0"], ["1", "0"], [0, 1]),
        (["cat", "-1", "ant"], None, ["ant", "cat"], [1, -1, 0]),
        (["-1", "a"], ["a", "-1"], ["a", "-1"], [1, 0]),
        (["-1"], None, None, [-1]),
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
        ("-2", None, "label -2, but there are at most 1000000 classes, counted from 0"),
    ],
)
def test_labels_out_of_range_are_refused(label, classes, message):
    with pytest.raises(InputError, match=message):
        file_list.number_labels({b"x": label}, classes)


def test_numbers_among_names_are_refused(tmp_path):
    labels = {b"1": "1", b"2": "n/a", b"3": "2.5"}
    with pytest.raises(InputError, match="1 are numbers and others are not: 2.5, n/a; write -1"):
        file_list.number_labels(labels, None)


def test_the_column_of_the_labels_can_be_named(tmp_path, capsys):
    path = tmp_path / "list.csv"
    path.write_text("filename,label,species,width\na.jpg,1,cat,24\n")
    assert file_list.read_list(path, NAMES, "species").labels == {b"a.jpg": "cat"}
    assert "not using its columns 'label', 'width'" in capsys.readouterr().out
    with pytest.raises(InputError, match="--label_column=kind: .* has the columns filename, label"):
        file_list.read_list(path, NAMES, "kind")
    path.with_suffix(".txt").write_text("a.jpg cat\n")
    with pytest.raises(InputError, match="is no csv"):
        file_list.read_list(path.with_suffix(".txt"), NAMES, "kind")


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
