"""A field refuses what it cannot be, and is the same as a value and as flags."""

import dataclasses

import pytest
from absl import flags

from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.fields import as_text, read_field, setting
from ccssl_tf.runs.settings import (
    SeedSettings,
    Settings,
    WorkdirSettings,
    fields_of,
)
from ccssl_tf.runs.values import read


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample(SeedSettings, WorkdirSettings):
    """A sample."""

    size: int = setting(3, "Side of a cell.", unit="pixels", minimum=1, maximum=9, paper=8)
    rate: float = setting(0.1, "Of learning.", minimum=0, maximum=1)
    flip: bool = setting(True, "Mirror.")
    normal: bool = setting(False, "Normalise.")
    title: str = setting("two words # no comment", "Of the page.")
    kind: str = setting(
        "auto", "Of all.", choices=["auto", "a", "b"], automatic="a", formerly=["x"]
    )
    teacher: str | None = setting(None, "Whom to ask.")
    width: float | None = setting(None, "Of layers.", minimum=0.05, automatic="1")
    cells: tuple[int, ...] = setting((10, 6), "Sides.", minimum=1)
    shares: tuple[float, ...] = setting((), "Of classes.", maximum=1)
    names: tuple[str, ...] = setting(("a", "b"), "Of classes.")
    layers: tuple[str, ...] | None = setting(None, "To look at.", choices=["conv1", "conv2"])
    also: tuple[str, ...] = setting((), "What else.", repeated=True)
    modes: tuple[str, ...] = setting((), "Which.", choices=["m", "n"], repeated=True)


FIELDS = {field.name: field for field in fields_of(Sample)}


VALUES = [
    ("size", 4),
    ("seed", 2**31 - 1),
    ("rate", 1e-07),
    ("rate", 0.0),
    ("rate", 1 / 3),
    ("flip", True),
    ("flip", False),
    ("normal", True),
    ("normal", False),
    ("title", "a=b, 'c' \"d\" # e"),
    ("title", "--flip"),
    ("kind", "b"),
    ("teacher", "runs/a b"),
    ("width", 0.5),
    ("cells", (7,)),
    ("cells", (10, 6, 5)),
    ("shares", (0.5, 1e-9, -2.0)),
    ("names", ("x", "y z", "it's")),
    ("names", ("one, two", 'say "no"')),
    ("names", ("",)),
    ("layers", ("conv2", "conv1")),
    ("also", ("p q", "r=s", "t,u")),
    ("modes", ("n", "m", "n")),
]


@pytest.mark.parametrize("name, value", VALUES, ids=[f"{n}={as_text(v)}" for n, v in VALUES])
def test_every_kind_of_field_comes_back_from_its_flags(tmp_path, name, value):
    lines = FIELDS[name].lines(value)
    assert read_field(FIELDS[name], lines) == value
    values = read([Sample], lines)
    assert values[Sample] == Sample(**{name: value})
    path = tmp_path / "flags.txt"
    path.write_text("".join(f"{line}\n" for of_one in values.lines().values() for line in of_one))
    again = read([Sample], [f"--flagfile={path}"])
    assert again[Sample] == values[Sample]
    assert type(getattr(again[Sample], name)) is type(value)


@pytest.mark.parametrize("name", ["teacher", "width", "layers", "also", "shares"])
def test_what_is_unset_is_no_line(name):
    field = FIELDS[name]
    assert field.lines(field.default) == []
    assert name not in read([Sample], []).lines()
    assert getattr(read([Sample], [])[Sample], name) == field.default


def test_flags_may_be_written_as_absl_takes_them():
    values = read([Sample], ["--size", "4", "-noflip", "--names=b, c", "--rate=1", "--normal=true"])
    assert values[Sample] == Sample(size=4, flip=False, names=("b", "c"), rate=1.0, normal=True)
    assert read([Sample], ["--size=4", "--size=5"])[Sample].size == 5
    for wrong in ("--size=many", "--sise=4", "--kind=c", "--modes=o", "--flip=perhaps"):
        with pytest.raises(flags.Error, match=wrong[2:6]):
            read([Sample], [wrong])
    for wrong, message in (
        ("--cells=1,x", "--cells=1,x: expected whole numbers such as 10,6,5, separated by commas"),
        ("--shares=half", "--shares=half: expected numbers such as 0.5,2"),
        ("--layers=conv3", "--layers=conv3: must be one of conv1, conv2"),
    ):
        with pytest.raises(FlagError, match=f"^{message}"):
            read([Sample], [wrong])


NAN, INFINITY = float("nan"), float("inf")


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(size=0), "--size=0: must be 1 or more"),
        (dict(size=10), "--size=10: must be 9 or less"),
        (dict(size=4.0), "--size=4.0: expected int, not 4.0"),
        (dict(size="4"), "--size=4: expected int, not '4'"),
        (dict(size=True), "--size=True: expected int, not True"),
        (dict(size=None), "--size: needs a value"),
        (dict(rate=-1e-9), "--rate=-1e-09: must be 0 or more"),
        (dict(rate=NAN), "--rate=nan: must be a number"),
        (dict(rate=INFINITY), "--rate=inf: must be 1 or less"),
        (dict(rate=False), "--rate=False: expected float, not False"),
        (dict(flip=1), "--flip=1: expected bool, not 1"),
        (dict(flip=None), "--flip: needs a value"),
        (dict(title=3), "--title=3: expected str, not 3"),
        (dict(kind="c"), "--kind=c: must be one of auto, a, b"),
        (dict(width=NAN), "--width=nan: must be a number"),
        (dict(cells=[1, 2]), "--cells=.*: must be a tuple, not .1, 2."),
        (dict(cells=3), "--cells=3: must be a tuple, not 3"),
        (dict(cells=(3, 0)), "--cells=3,0: must be 1 or more"),
        (dict(cells=(3, 2.5)), "--cells=3,2.5: expected int, not 2.5"),
        (dict(cells=None), "--cells: needs a value"),
        (dict(shares=(0.5, NAN)), "--shares=0.5,nan: must be a number"),
        (dict(names=("a", 1)), "--names=a,1: expected str, not 1"),
        (dict(names="ab"), "--names=ab: must be a tuple, not 'ab'"),
        (dict(layers=("conv1", "fc")), "--layers=conv1,fc: must be one of conv1, conv2"),
        (dict(seed=-1), "--seed=-1: must be 0 or more"),
        (dict(seed=2**31), "--seed=2147483648: must be 2.14748e[+]09 or less"),
    ],
)
def test_what_can_never_be_right_is_refused(fields, message):
    with pytest.raises(FlagError, match=f"^{message}$"):
        Sample(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        dict(size=1),
        dict(size=9),
        dict(rate=0),
        dict(rate=1.0),
        dict(teacher=None),
        dict(width=None),
        dict(width=0.05),
        dict(cells=()),
        dict(layers=None),
        dict(layers=()),
    ],
)
def test_bounds_themselves_and_unset_optional_values_are_fine(fields):
    ((name, value),) = fields.items()
    assert getattr(Sample(**fields), name) == value


def test_a_field_is_described_with_all_that_is_known_of_it():
    described = {name: field.describe() for name, field in FIELDS.items()}
    assert described["size"] == "Side of a cell. (pixels; default 3; in the paper 8)"
    assert described["kind"] == "Of all. (auto or a or b; default a)"
    assert described["flip"] == "Mirror. (default True)"
    assert described["normal"] == "Normalise."
    assert described["teacher"] == "Whom to ask."
    assert described["seed"] == "Seed of everything random. (default 0)"
    assert described["cells"] == "Sides. (default 10,6)"
    assert described["modes"] == "Which. (m or n; may be repeated)"

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Paper(Settings):
        """As in the paper."""

        rate: float = setting(0.0, "Of noise.", paper=0.0)
        sides: tuple[int, ...] = setting((2, 3), "Of cells.", unit="pixels", paper=(2, 3))
        bare: bool = setting(False, "Without.", paper=False)
        needed: int = setting(help="Of all.", paper=7)

    texts = [field.describe() for field in fields_of(Paper)]
    assert texts == [
        "Of noise. (default 0.0 as in the paper)",
        "Of cells. (pixels; default 2,3 as in the paper)",
        "Without. (as in the paper)",
        "Of all. (in the paper 7)",
    ]


def test_fields_of_other_types_are_mistakes_of_the_program():
    for hint in (list[int], dict, int | str, tuple[bool, ...], bytes):
        cls = dataclasses.make_dataclass(
            "Other", [("value", hint, setting(None))], bases=(Settings,), frozen=True, kw_only=True
        )
        with pytest.raises(TypeError, match="^value: settings are int, float, bool, str or tuples"):
            fields_of(cls)


def test_an_older_versions_text_of_a_default_is_known():
    for name, texts in dict(
        size=["3"],
        flip=["true"],
        normal=["false"],
        kind=["auto", "x"],
        names=["a,b"],
        cells=["10,6"],
    ).items():
        assert all(FIELDS[name].is_recorded_default(text) for text in texts)
    for name, text in dict(size="4", flip="false", names="b,a", cells="x", rate="high").items():
        assert not FIELDS[name].is_recorded_default(text)
