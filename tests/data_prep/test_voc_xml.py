"""Annotation files as published, as some of VOC2012 really are, and as an attacker or a slip would
write them.
"""

import random
import time

import pytest

from ccssl_tf.runs.errors import InputError
from data_prep.faults import Faults
from data_prep.object_annotator import BoxEdges
from data_prep.voc_xml import CLASSES, AnnotationReader, NamedObject


def _read(data, name="a.xml", clip_boxes=False, picture_size=None):
    reader = AnnotationReader(Faults("source"), BoxEdges(clip_boxes))
    annotation = reader.read(data, name, lambda: picture_size)
    reader.faults.refuse()
    return annotation


def _xml(*objects, width="500", height="375"):
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    return f"<annotation>{size}{''.join(objects)}</annotation>".encode()


def _object(name="cat", box=(1, 2, 3, 4), more=""):
    corners = "".join(
        f"<{tag}>{value}</{tag}>"
        for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name><bndbox>{corners}</bndbox>{more}</object>"


def test_classes_are_sorted_and_twenty():
    assert sorted(CLASSES) == CLASSES and len(set(CLASSES)) == 20
    assert CLASSES.index("aeroplane") == 0 and CLASSES.index("tvmonitor") == 19


def test_what_is_read():
    part = "<part><name>head</name><bndbox><xmin>9</xmin></bndbox></part>"
    found = _read(
        _xml(
            _object(more="<difficult>1</difficult>\n<truncated> 1 </truncated>"),
            _object("person", (1, 1, 500, 375), part),
        ),
        "a.xml",
    )
    assert (found.width, found.height) == (500, 375)
    assert found.objects == (
        NamedObject("cat", (1, 2, 3, 4), True, True),
        NamedObject("person", (1, 1, 500, 375), False, False),
    )
    assert _read(_xml(), "a.xml").objects == ()


@pytest.mark.parametrize(
    ("box", "stored"),
    [
        ((0, 0, 501, 376), (1, 1, 500, 375)),
        (("45.70000076293945", "2.5", "46.2", "9.49"), (46, 3, 46, 9)),
        ((7, 7, 7, 7), (7, 7, 7, 7)),
    ],
)
def test_one_pixel_outside_is_moved_to_the_edge_and_decimals_are_rounded(box, stored):
    assert _read(_xml(_object(box=box)), "a.xml").objects[0].box == stored


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (_xml("<object><bndbox/></object>"), "object 1 has no <name>"),
        (
            _xml("<object><name>cat</name></object>"),
            "<xmin> in <bndbox> of object 1 (cat) is missing",
        ),
        (
            _xml(_object(box=(1, 2, 3, "wide"))),
            "<ymax> in <bndbox> of object 1 (cat) is 'wide'",
        ),
        (_xml(_object(box=(1, 2, 3, "nan"))), "is 'nan'"),
        (_xml(_object(box=(1, 2, 3, "inf"))), "is 'inf'"),
        (_xml(_object(box=(1, 2, "1e300", 4))), "is '1e300'"),
        (_xml(_object(box=(10, 2, 3, 4))), "inverted"),
        (_xml(_object(box=(1, 20, 3, 4))), "inverted"),
        (_xml(_object(box=(-1, 2, 3, 4))), "outside the image of 500x375"),
        (_xml(_object(box=(1, 2, 502, 4))), "outside the image of 500x375"),
        (_xml(_object(more="<difficult>maybe</difficult>")), "<difficult> is 'maybe'"),
        (_xml(_object(), width="0"), "0x375 pixels"),
        (_xml(_object(more="<truncated>2</truncated>")), "<truncated> is '2'"),
        (_xml(width="-5"), "-5x375 pixels"),
        (b"<annotation/>", "says no size, and its picture cannot be read"),
        (_xml(width="0", height="0"), "says no size, and its picture cannot be read"),
        (b"<other/>", "<other>"),
        (_xml(*[_object()] * 1001), "1001 objects"),
        (_xml() + b" " * 2**20, "bytes"),
        (b"<annotation>", "not XML"),
        (b"", "not XML"),
        (b"<?xml version='1.0' encoding='nonsense'?><annotation/>", "not XML"),
        (_xml().decode().encode("utf-16"), "refused"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "'<!DOCTYPE'"),
        (
            b'<?xml version="1.0"?><!doctype a [<!ENTITY b "c">]><annotation>&b;</annotation>',
            "'<!doctype'",
        ),
    ],
)
def test_what_is_refused_in_one_line_naming_the_file(data, said):
    with pytest.raises(InputError, match="^source: a.xml: ") as caught:
        _read(data, "a.xml")
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("Unspecified", False),
        ("", False),
        ("False", False),
        ("0.0", False),
        ("no", False),
        ("1", True),
        ("TRUE", True),
        ("0.35", True),
        ("1.0", True),
    ],
)
def test_flags_as_tools_write_them(text, flag):
    more = f"<truncated>{text}</truncated><difficult>{text}</difficult>"
    (one,) = _read(_xml(_object(more=more))).objects
    assert (one.truncated, one.difficult) == (flag, flag)


@pytest.mark.parametrize(
    "data",
    [
        _xml(_object(), width="0", height="0"),
        f"<annotation>{_object()}</annotation>".encode(),
        f"<annotation><size><width/><height/></size>{_object()}</annotation>".encode(),
    ],
    ids=["zeros", "no size", "empty"],
)
def test_a_size_that_is_not_said_is_the_pictures(data):
    annotation = _read(data, picture_size=(64, 48))
    assert (annotation.width, annotation.height) == (64, 48)
    assert annotation.objects[0].box == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ((-1, 2, 3, 4), (1, 2, 3, 4)),
        ((-20, -20, 600, 400), (1, 1, 500, 375)),
        ((490, 370, 510, 380), (490, 370, 500, 375)),
        ((-20, 2, -3, 4), None),
        ((600, 2, 700, 4), None),
    ],
)
def test_boxes_can_be_clipped(box, clipped):
    reader = AnnotationReader(Faults("source"), BoxEdges(True))
    objects = reader.read(_xml(_object(), _object(box=box)), "a.xml", lambda: None).objects
    assert [one.box for one in objects[1:]] == ([clipped] if clipped else [])
    assert (reader.edges.num_clipped, reader.edges.num_outside) == ((1, 0) if clipped else (0, 1))
    assert not reader.faults.count


def test_all_faults_of_all_files_are_gathered():
    reader = AnnotationReader(Faults("source"), BoxEdges(False))
    objects = _object(box=(-9, 2, 3, 4)), _object(box=(10, 2, 3, 4))
    assert reader.read(_xml(*objects, _object()), "a.xml", lambda: None) is None
    assert reader.read(_xml(_object()), "b.xml", lambda: None).objects
    assert reader.read(b"<annotation>", "c.xml", lambda: None) is None
    with pytest.raises(InputError, match="^source: 3 faults: a.xml: .*; a.xml: .*; c.xml: not XML"):
        reader.faults.refuse()


def test_bombs_are_refused_at_once():
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 10))
    deep = b"<a>" * 300_000
    start = time.process_time()
    for data in (
        f'<!DOCTYPE a [<!ENTITY e0 "boom">{entities}]><annotation>&e9;</annotation>'.encode(),
        deep,
        deep + b"</a>" * 10,
    ):
        with pytest.raises(InputError):
            _read(data, "a.xml")
    assert time.process_time() - start < 1


def test_damaged_bytes_are_read_or_refused():
    whole, chance = bytearray(_xml(_object(), _object("dog"))), random.Random(0)
    for _ in range(2000):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            found = _read(bytes(data[: chance.randint(0, 2 * len(data))]), "a.xml")
        except InputError:
            continue
        for one in found.objects:
            assert (
                1 <= one.box[0] <= one.box[2] <= found.width
                and 1 <= one.box[1] <= one.box[3] <= found.height
            )
