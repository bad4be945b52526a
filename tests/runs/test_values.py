"""All settings of a run: read from flags, resolved, recorded, and compared with a record."""

import dataclasses

import pytest
from absl import flags

from ccssl_tf.runs.errors import FlagError
from ccssl_tf.runs.fields import setting
from ccssl_tf.runs.settings import (
    CommandSettings,
    SeedSettings,
    Settings,
    WorkdirSettings,
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range(Settings):
    """From and to."""

    first: int = setting(0, "From.")
    last: int = setting(9, "To.")

    def check(self):
        super().check()
        if self.first > self.last:
            raise FlagError(f"--first={self.first}: is after --last={self.last}")


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


def test_what_an_older_version_recorded_of_a_setting_that_stays_open_agrees():
    here = values_of()
    assert here.difference(["--kind=x"], is_resolved=False) is None
    assert here.difference(["--kind=x"], is_resolved=True) is not None


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


def test_nothing_is_added_to_absls_global_flags():
    before = set(flags.FLAGS)
    read([Sample, CommandSettings], ["--size=4", "--dry_run"])
    assert set(flags.FLAGS) == before
    assert not {"size", "dry_run", "seed"} & before
