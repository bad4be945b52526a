"""Instances files read back by another route, and what is wrong with them told at once."""

import itertools
import json

import numpy as np
import pytest
from foreign_records import jpeg

from ccssl_tf.runs.errors import InputError
from data_prep import coco_layout, coco_masks
from data_prep.decoding import ConvertedImage

pytest.importorskip("pycocotools", reason="pycocotools is not installed")
WIDTH, HEIGHT = 32, 24
CATEGORIES = [dict(id=7, name="dog"), dict(id=3, name="cat"), dict(id=90, name="toothbrush")]


def content(names, annotations=(), categories=CATEGORIES):
    """An instances file: images numbered from 100."""
    images = [
        dict(id=100 + number, file_name=name, width=WIDTH, height=HEIGHT)
        for number, name in enumerate(names)
    ]
    return dict(images=images, annotations=list(annotations), categories=list(categories))


_IDS = itertools.count()


def annotation(image=0, category=7, bbox=(0, 0, WIDTH, HEIGHT), shape=None, **more):
    """One object of an image."""
    shape = [_rectangle(*bbox)] if shape is None else shape
    number = next(_IDS)
    return dict(
        {"id": number, "image_id": 100 + image, "category_id": category, "bbox": bbox},
        segmentation=shape,
        **more,
    )


def _rectangle(x, y, width, height):
    return [x, y, x + width, y, x + width, y + height, x, y + height]


@pytest.fixture
def listing(tmp_path):
    """Lists instances files over pictures in train2017/ and val2017/."""
    for name in ("train2017/a.jpg", "train2017/b.jpg", "val2017/c.jpg"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(jpeg(ord(name[-5])))

    def list_images(*contents, task="detection", names=("instances_train2017.json",), **options):
        paths = []
        for name, one in zip(names, contents, strict=True):
            paths.append(tmp_path / name)
            text = one if isinstance(one, str) else json.dumps(one)
            paths[-1].write_text(text)
        return coco_layout.list_images(tmp_path / "images", paths, task=task, **options)

    return list_images


def test_boxes_labels_and_splits(listing):
    train = content(
        ["a.jpg", "b.jpg"],
        [
            annotation(0, 7, [0, 0, 32, 24]),
            annotation(0, 90, [3.4, 5.6, 10.2, 4.1], iscrowd=1),
            annotation(0, 3, [31, 23, 1, 1]),
        ],
    )
    image_set = listing(
        train,
        content(["val2017/c.jpg"]),
        names=("instances_train2017.json", "instances_val2017.json"),
    )
    assert image_set.class_names == ["cat", "dog", "toothbrush"]
    assert {
        split: [item.name.decode() for item in items] for split, items in image_set.splits.items()
    } == {"train": ["train2017/a.jpg", "train2017/b.jpg"], "val": ["val2017/c.jpg"]}
    first, second = image_set.splits["train"]
    assert [tuple(one) for one in first.location.objects] == [
        (1, (1, 1, 32, 24), False, False),
        # 3.4 to 13.6 and 5.6 to 9.7: pixels 4..14 and 7..10, counted from 1.
        (2, (4, 7, 14, 10), True, False),
        (0, (32, 24, 32, 24), False, False),
    ]
    assert second.location.objects == []
    features = image_set.annotator.features(first.location, ConvertedImage(b"", HEIGHT, WIDTH, ()))
    assert features["image/class/presence"].tolist() == [1, 1, 0]
    assert image_set.read(first.location) == jpeg(ord("a"))


def test_all_faults_are_told(listing):
    faulty = content(
        ["a.jpg", "nothing.jpg", "b.jpg"],
        [
            annotation(0, 5),
            annotation(0, 7, [-9, 0, 50, 24]),
            annotation(2, 7, [0, 0, -1, 5]),
            annotation(2, 7, [0, 0, float("nan"), 5]),
            annotation(2, 7, None, shape=[]),
            annotation(9),
        ],
    )
    faulty["images"] += [dict(id=100, file_name="b.jpg", width=9, height=9), dict(id=5)]
    with pytest.raises(InputError) as caught:
        listing(faulty)
    text = str(caught.value)
    for said in (
        "9 faults",
        "a.jpg: unknown category 5",
        "box [-9, 0, 50, 24] lies outside the image of 32x24",
        "--clip_boxes",
        "nothing.jpg is not below --source",
        "b.jpg: box [0, 0, -1, 5] is inverted",
        "b.jpg: box [0, 0, nan, 5] is not of numbers of pixels",
        "b.jpg: bbox None",
        "image 100 (b.jpg) is there twice",
        "an image without id, file_name or size: {'id': 5}",
        "annotations of image 109, which it does not name",
    ):
        assert said in text, said
    assert "\n" not in text


def test_boxes_can_be_clipped(listing, capsys):
    boxes = [annotation(0, 7, [-9, 0, 50, 24]), annotation(0, 3, [40, 0, 5, 5])]
    image_set = listing(content(["a.jpg"], boxes), clip_boxes=True)
    assert [one.box for one in image_set.splits["train"][0].location.objects] == [(1, 1, 32, 24)]
    assert "clipped 1 boxes at the edge of their image, left out 1" in capsys.readouterr().out


def test_faults_of_objects_and_pictures(listing):
    """Twenty are shown of all."""
    faulty = content(
        ["a.jpg", "b.jpg"],
        [
            annotation(0, 7, [3, 3, 0, 5]),
            annotation(1, [7]),
            annotation(1, 3, id=5),
            annotation(1, 3, id=5),
            dict(image_id=[100], category_id=7, bbox=[0, 0, 1, 1]),
            "box",
        ],
    )
    faulty["images"][1]["width"] = 20
    with pytest.raises(InputError) as caught:
        listing(faulty)
    for said in (
        "5 faults",
        "a.jpg: box [3, 3, 0, 5] has no width or no height (--clip_boxes leaves such out)",
        "b.jpg: 32x24 pixels, not 20x24",
        "annotation 5 is there twice",
        "an annotation without image_id: {'image_id': [100]",
        "an annotation without image_id: box",
    ):
        assert said in str(caught.value), said
    faulty["images"][1].update(width=24, height=32)
    with pytest.raises(InputError, match="32x24 pixels, not 24x32; turn photos themselves"):
        listing(faulty)
    many = content(["a.jpg"], [annotation(0, 5) for _ in range(23)])
    with pytest.raises(InputError, match="23 faults: .*and 3 more") as caught:
        listing(many)
    assert str(caught.value).count("unknown category 5") == 20


def test_an_image_of_two_splits(listing):
    names = ("instances_train2017.json", "instances_val2017.json")
    with pytest.raises(InputError, match="train2017/a.jpg is in train and in val"):
        listing(content(["a.jpg"]), content(["train2017/a.jpg"]), names=names)


def test_sizes_that_a_tool_left_out(listing):
    one = content(["a.jpg", "b.jpg"], [annotation(0, 7, [1.5, 2, 3.2, 0.2])])
    one["images"][0].update(width=0, height=0)
    del one["images"][1]["width"]
    first, second = listing(one).splits["train"]
    assert first.location.size == second.location.size == (WIDTH, HEIGHT)
    # Its centre, 2.1 from the top, lies in the third row of pixels.
    assert [one.box for one in first.location.objects] == [(3, 3, 5, 3)]


@pytest.mark.parametrize(
    ("one", "said"),
    [
        ("{", "no JSON file"),
        ("[]", "found list"),
        ("{}", "found nothing"),
        ('{"images": [], "info": 1}', "found images, info"),
        (content([], categories=[]), "no categories"),
        (content([], categories=[dict(id=1)]), "a category without id and name: {'id': 1}"),
        (content([], categories=[dict(id=1, name="a")] * 2), "two categories with the id 1"),
        ("[" * 100_000, "no JSON file"),
    ],
)
def test_files_that_are_none(listing, one, said):
    with pytest.raises(InputError, match=".*instances_train2017.json.*|no categories") as caught:
        listing(one)
    assert said in str(caught.value)


def test_splits_are_told_or_said(listing):
    one = content(["a.jpg"])
    assert list(listing(one, names=("labels_valid.json",)).splits) == ["val"]
    with pytest.raises(InputError, match="tells the split; say --splits"):
        listing(one, names=("x.json",))
    assert list(listing(one, names=("x.json",), splits=["test"]).splits) == ["test"]
    inside = content(["train2017/a.jpg", "train2017/b.jpg"])
    assert list(listing(inside, names=("x.json",)).splits) == ["train"]
    with pytest.raises(InputError, match="a second file of the split train"):
        listing(one, one, names=("train.json", "instances_train.json"))


def _runs(pixels):
    """Uncompressed run lengths, column by column, beginning with the zeros."""
    counts, current = [0], False
    for pixel in pixels.T.ravel():
        if pixel != current:
            counts.append(0)
            current = bool(pixel)
        counts[-1] += 1
    return dict(size=[HEIGHT, WIDTH], counts=counts)


def test_masks_by_category(listing):
    from pycocotools import mask as coco_mask

    random = np.random.default_rng(0)
    crowd = np.zeros((HEIGHT, WIDTH), bool)
    crowd[:, 20:] = random.random((HEIGHT, 12)) < 0.5
    small = np.zeros((HEIGHT, WIDTH), bool)
    small[3:6, 3:9] = True
    compressed = coco_mask.encode(np.asfortranarray(small.astype(np.uint8)))
    compressed["counts"] = compressed["counts"].decode()
    shapes = [
        annotation(0, 90, shape=compressed),
        annotation(0, 7, shape=[_rectangle(2, 2, 10, 8), _rectangle(14, 12, 4, 4)]),
        annotation(0, 3, shape=_runs(crowd), iscrowd=1),
    ]
    image_set = listing(content(["a.jpg", "b.jpg"], shapes), task="segmentation")
    assert image_set.class_names == ["cat", "dog", "toothbrush"]
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[crowd] = 255
    expected[2:10, 2:12] = expected[12:16, 14:18] = 2
    expected[small] = 3
    first, second = image_set.splits["train"]
    np.testing.assert_array_equal(coco_masks.mask_values(first.location), expected)
    assert not coco_masks.mask_values(second.location).any()


def test_shapes_that_are_none(listing):
    with pytest.raises(InputError, match="an object without segmentation"):
        listing(content(["a.jpg"], [annotation(0, 7, shape=[])]), task="segmentation")
