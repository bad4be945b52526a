"""Settings check themselves, and are the same as an object, as flags and as a run's record."""

import dataclasses

import pytest
from absl import flags

from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.fields import as_text, read_field
from ccssl_tf.runs.settings import (
    CommandSettings,
    SeedSettings,
    Settings,
    WorkdirSettings,
    fields_of,
    lookup,
    setting,
    whole_or_fields,
)
from ccssl_tf.runs.values import Values, read


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
        (dict(rate=NAN), "--rate=nan: must be 0 or more"),
        (dict(rate=INFINITY), "--rate=inf: must be 1 or less"),
        (dict(rate=False), "--rate=False: expected float, not False"),
        (dict(flip=1), "--flip=1: expected bool, not 1"),
        (dict(flip=None), "--flip: needs a value"),
        (dict(title=3), "--title=3: expected str, not 3"),
        (dict(kind="c"), "--kind=c: must be one of auto, a, b"),
        (dict(width=NAN), "--width=nan: must be 0.05 or more"),
        (dict(cells=[1, 2]), "--cells=.*: must be a tuple, not .1, 2."),
        (dict(cells=3), "--cells=3: must be a tuple, not 3"),
        (dict(cells=(3, 0)), "--cells=3,0: must be 1 or more"),
        (dict(cells=(3, 2.5)), "--cells=3,2.5: expected int, not 2.5"),
        (dict(cells=None), "--cells: needs a value"),
        (dict(shares=(0.5, NAN)), "--shares=0.5,nan: must be 1 or less"),
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


def test_settings_are_frozen_and_replaced_ones_are_checked():
    sample = Sample()
    with pytest.raises(dataclasses.FrozenInstanceError):
        sample.size = 4
    with pytest.raises(FlagError, match="^--size=10: "):
        dataclasses.replace(sample, size=10)
    with pytest.raises(TypeError, match="positional"):
        Sample(4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range(Settings):
    """From and to."""

    first: int = setting(0, "From.")
    last: int = setting(9, "To.")

    def check(self):
        super().check()
        if self.first > self.last:
            raise FlagError(f"--first={self.first}: is after --last={self.last}")


def test_a_class_checks_fields_against_each_other_after_each_alone():
    assert read([Range], ["--first=9"])[Range] == Range(first=9)
    with pytest.raises(FlagError, match="^--first=10: is after --last=9$"):
        read([Range], ["--first=10"])
    with pytest.raises(FlagError, match="^--last=None: expected int|^--last: needs a value$"):
        Range(first=3, last=None)


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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Needed(WorkdirSettings):
    """What must be given."""

    data_dir: str = setting(help="Directory of images.")
    task: str = setting(help="What to learn.")
    count: int = setting(help="How many.", minimum=1)


def test_all_required_fields_that_are_missing_are_named():
    with pytest.raises(FlagError, match="^set --data_dir, --task and --count$"):
        read([Sample, Needed], [])
    with pytest.raises(FlagError, match="^set --data_dir and --count$"):
        read([Sample, Needed], ["--task=x"])
    with pytest.raises(FlagError, match="^--count: not given; How many.$"):
        read([Needed], ["--task=x", "--data_dir=d"])
    with pytest.raises(TypeError, match="count"):
        Needed(task="x", data_dir="d")


def test_a_field_shared_by_inheritance_is_one_flag():
    values = read([Sample, Needed], ["--workdir=w", "--task=t", "--data_dir=d", "--count=1"])
    assert values[Sample].workdir == values[Needed].workdir == "w"
    assert values.lines()["workdir"] == ["--workdir=w"]
    assert values.command() == ["", "--workdir=w", "--task=t", "--data_dir=d", "--count=1"]
    assert Sample in values and Range not in values
    assert [type(group) for group in values] == [Sample, Needed]


@pytest.mark.parametrize(
    "hint, default, options",
    [
        (str, "3", {}),
        (float, 3.0, {}),
        (tuple[int, ...], (3,), {}),
        (int | None, None, {}),
        (int, 3, dict(unit="pixels", minimum=2, maximum=9)),
        (int, 3, dict(unit="cells", minimum=1, maximum=9)),
    ],
)
def test_two_definitions_of_one_name_are_a_mistake_of_the_program(hint, default, options):
    other = dataclasses.make_dataclass(
        "Other",
        [("size", hint, setting(default, "Of all.", **options))],
        bases=(Settings,),
        frozen=True,
        kw_only=True,
    )
    with pytest.raises(ValueError, match="Other: another class has another --size"):
        read([Sample, other], [])


def test_of_a_shared_field_with_two_defaults_the_first_holds_for_both():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Other(Settings):
        """Other."""

        size: int = setting(5, "Of another.", unit="pixels", minimum=1, maximum=9)

    assert read([Sample, Other], [])[Other].size == 3
    assert read([Other, Sample], [])[Sample].size == 5
    for size in (3, 4, 5):
        given = read([Sample, Other], [f"--size={size}"])
        assert given[Sample].size == given[Other].size == size
        assert given.lines()["size"] == [f"--size={size}"]
    # Where a program left each at its own, no line is recorded: it would mean one of them for both.
    apart = Values("", [Sample(), Other()])
    assert "size" not in apart.lines() and "size" not in apart.beside_defaults()
    assert apart.difference(lines_of(apart), is_resolved=True) is None
    told = ("size", "", "--size=4")
    assert (
        given.resolved(Sample(size=4), Other(size=4)).difference(lines_of(apart), is_resolved=True)
        == told
    )


def values_of(*arguments, resolve=None, classes=(CommandSettings, Sample)):
    values = read(classes, arguments, "ccssl_tf.sample")
    return values.resolved(dataclasses.replace(values[Sample], **resolve)) if resolve else values


def lines_of(values):
    return [line for of_one in values.lines().values() for line in of_one]


def test_what_was_left_open_and_is_resolved_is_written_as_it_ran():
    values = values_of("--size=4")
    resolved = values.resolved(dataclasses.replace(values[Sample], kind="a", width=1.0))
    assert (values[Sample].kind, resolved[Sample].kind) == ("auto", "a")
    assert {"--kind=a", "--width=1.0", "--size=4"} <= set(lines_of(resolved))
    assert resolved.beside_defaults() == dict(size="4", kind="a", width="1.0")
    assert values.beside_defaults() == dict(size="4")
    assert resolved.command() == ["ccssl_tf.sample", "--size=4"], "as it was typed"
    with pytest.raises(KeyError):
        values.resolved(Range())


def test_a_shared_field_that_one_group_has_resolved_is_resolved():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Kind(Settings):
        """Shared."""

        width: float | None = setting(None, "Of layers.", automatic="1")

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class First(Kind):
        """One."""

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Second(Kind):
        """Another."""

    values = read([First, Second], [])
    for group in (First(width=0.5), Second(width=0.5)):
        assert values.resolved(group).lines() == dict(width=["--width=0.5"])


def test_a_run_of_the_same_settings_agrees():
    for arguments in ([], ["--size=4", "--noflip", "--also=a", "--also=b", "--teacher=t"]):
        recorded = lines_of(values_of(*arguments))
        assert values_of(*arguments).difference(recorded, is_resolved=True) is None
        assert values_of(*arguments).difference(recorded, is_resolved=False) is None


@pytest.mark.parametrize(
    "there, here, difference",
    [
        (["--size=3"], ["--size=4"], ("size", "--size=3", "--size=4")),
        ([], ["--noflip"], ("flip", "--flip", "--noflip")),
        (["--normal"], [], ("normal", "--normal", "--nonormal")),
        ([], ["--names=b,a"], ("names", "--names=a,b", "--names=b,a")),
        (["--also=a"], ["--also=a", "--also=b"], ("also", "--also=a", "--also=a --also=b")),
        (["--also=a", "--also=b"], [], ("also", "--also=a --also=b", "")),
        ([], ["--teacher=x"], ("teacher", "", "--teacher=x")),
        (["--teacher=x"], [], ("teacher", "--teacher=x", "")),
        (["--kind=b"], ["--kind=a"], ("kind", "--kind=b", "--kind=a")),
        (["--kind=a"], ["--width=2"], ("kind", "--kind=a", "--kind=auto")),
    ],
)
def test_a_run_of_other_settings_differs_in_the_first(there, here, difference):
    recorded = lines_of(values_of(*there))
    for is_resolved in (True, False):
        assert values_of(*here).difference(recorded, is_resolved=is_resolved) == difference
    ignored = {"size", "flip", "normal", "names", "also", "teacher", "kind", "width"}
    assert values_of(*here).difference(recorded, is_resolved=True, ignored=ignored) is None


def test_the_same_value_in_other_words_agrees():
    here = values_of("--rate=1", "--noflip", "--names=b, c", "--dry_run")
    there = ["--rate=1.0", "--flip=false", "--names=b,c", "--size=3"]
    assert here.difference(there, is_resolved=True) is None
    for damaged in ("--rate=high", "--rate"):
        assert here.difference([damaged], is_resolved=True) == ("rate", damaged, "--rate=1.0")


def test_settings_that_only_one_of_two_versions_knows_do_not_count():
    recorded = [line for line in lines_of(values_of()) if "rate" not in line]
    recorded += ["--gone=4", "--nothing_like_it"]
    assert values_of().difference(recorded, is_resolved=True) is None
    assert values_of("--rate=0.5").difference(recorded, is_resolved=True) == (
        "rate",
        "",
        "--rate=0.5",
    )


@pytest.mark.parametrize("was", ["--kind=auto", "--kind=x", None])
def test_a_run_of_an_older_version_that_left_it_to_the_program_agrees(was):
    """That version wrote "auto", a default that the program overruled, or nothing."""
    recorded = [was] if was else []
    automatic = values_of(resolve=dict(kind="a", width=1.0))
    assert automatic.difference(recorded, is_resolved=False) is None
    # Chosen by hand it is another matter, unless the older version did not have it.
    by_hand = values_of("--kind=a", resolve=dict(width=1.0)).difference(recorded, is_resolved=False)
    assert by_hand == (("kind", was or "", "--kind=a"))


def test_a_run_of_an_older_version_recorded_what_was_said():
    """One grid for all layers, say, that now runs and is recorded as one for each."""
    here = values_of("--names=b", resolve=dict(names=("b", "b")))
    assert here.difference(["--names=b"], is_resolved=False) is None
    assert here.difference(["--names=b"], is_resolved=True) == ("names", "--names=b", "--names=b,b")
    assert here.difference(["--names=b,b"], is_resolved=True) is None


def test_what_was_chosen_automatically_is_compared_where_it_was_recorded_as_it_ran():
    automatic = values_of(resolve=dict(kind="a", width=1.0))
    recorded = lines_of(automatic)
    assert automatic.difference(recorded, is_resolved=True) is None
    # By hand as the program would have chosen: the same run.
    assert values_of("--kind=a", "--width=1").difference(recorded, is_resolved=True) is None
    other = values_of(resolve=dict(kind="b", width=1.0))
    difference = ("kind", "--kind=a", "--kind=b")
    assert other.difference(recorded, is_resolved=True) == difference
    # What an older version wrote that is neither "auto" nor what it wrote for it was given.
    assert other.difference(recorded, is_resolved=False) == difference
    assert automatic.difference(["--kind=auto"], is_resolved=True) is not None


def test_only_what_is_beside_the_defaults_tells_runs_apart():
    values = values_of("--size=3", "--noflip", "--names=x,y", "--also=a", "--also=b", "--dry_run")
    assert values.beside_defaults() == dict(flip="False", names="x,y", also="a,b")


def test_the_command_of_a_program_does_the_same_when_typed():
    given = dict(size=4, flip=False, names=("x", "y z"), also=("p", "q"), rate=0.5)
    values = Values("ccssl_tf.sample", [CommandSettings(dry_run=True), Sample(**given)])
    module, *arguments = values.command()
    assert module == "ccssl_tf.sample"
    assert read([Sample], arguments)[Sample] == values[Sample]
    assert sorted(arguments) == [
        "--also=p",
        "--also=q",
        "--names=x,y z",
        "--noflip",
        "--rate=0.5",
        "--size=4",
    ]


def test_groups_can_be_left_out():
    values = values_of("--size=4", resolve=dict(kind="a"))
    rest = values.without(CommandSettings)
    assert [type(group) for group in rest] == [Sample]
    assert rest.difference(["--size=4", "--kind=auto"], is_resolved=False) is None


def test_whole_settings_or_their_fields():
    assert whole_or_fields(Range, None, dict(first=1)) == Range(first=1)
    whole = Range(last=3)
    assert whole_or_fields(Range, whole, {}) is whole
    for given, fields in ((whole, dict(first=1)), (Sample(), {})):
        with pytest.raises(TypeError, match="expected Range or its fields"):
            whole_or_fields(Range, given, fields)


def test_lookup_names_the_flag_and_the_choices():
    assert lookup(dict(a=1, b=2), "b", "task") == 2
    with pytest.raises(FlagError, match="^--task=c: unknown; there are a, b$"):
        lookup(dict(b=2, a=1), "c", "task")


def test_nothing_is_added_to_absls_global_flags():
    before = set(flags.FLAGS)
    read([Sample, CommandSettings], ["--size=4", "--dry_run"])
    assert set(flags.FLAGS) == before
    assert not {"size", "dry_run", "seed"} & before


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
