import itertools
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from ccssl_tf.pretext import permutations as lib
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.launch import run_command

AUTHORS_FILE = pathlib.Path(__file__).parents[2] / "../shared/data/jigsaw/permutations_701.bin"


def pairwise_distances(permutations):
    return np.array([np.count_nonzero(a != b) for a, b in itertools.combinations(permutations, 2)])


def test_generated_permutations_are_distinct_and_far_apart():
    permutations = lib.generate_permutations(60, 4, seed=3)
    assert (np.sort(permutations, 1) == np.arange(9)).all()
    assert pairwise_distances(permutations).min() >= 4
    assert not (permutations == np.arange(9)).all(1).any()


def test_generation_is_seeded():
    first, again, other = (lib.generate_permutations(10, 3, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_each_choice_maximises_the_mean_distance():
    chosen = lib.generate_permutations(6, 3, seed=0)
    everything = np.array(list(itertools.permutations(range(9))))
    for count in range(1, len(chosen)):
        totals = sum((everything != before).sum(1) for before in chosen[:count])
        assert (chosen[count] != chosen[:count]).sum() == totals.max()


def test_shipped_set_is_what_the_command_generates():
    shipped = lib.load_permutations(lib.SHIPPED)
    assert shipped.shape == (701, 9)
    np.testing.assert_array_equal(shipped[:40], lib.generate_permutations(40, 3, seed=0))
    distances = pairwise_distances(shipped)
    assert distances.min() >= 3
    assert 0.85 < distances.mean() / 9 < 0.92


def started(output, *arguments):
    command = [
        sys.executable,
        "-m",
        "ccssl_tf.pretext.permutations",
        f"--output={output}",
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command_writes_a_set_that_loads(tmp_path):
    done = started(tmp_path / "set.bin", "--num_permutations=12")
    assert done.returncode == 0 and "12 permutations, Hamming distance min" in done.stdout
    np.testing.assert_array_equal(
        lib.load_permutations(tmp_path / "set.bin"), lib.load_permutations(lib.SHIPPED)[:12]
    )
    refused = started(tmp_path / "other.bin", "--num_permutations=20", "--min_hamming_distance=9")
    assert (
        refused.returncode == 2
        and "only 9 permutations" in refused.stderr
        and len(refused.stderr.splitlines()) == 1
    )
    assert not (tmp_path / "other.bin").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--num_permutations=1"],
        ["--min_hamming_distance=1"],
        ["--min_hamming_distance=10"],
        ["--output="],
    ],
)
def test_flags_that_can_never_be_right_are_refused(tmp_path, capsys, arguments):
    words = [f"--output={tmp_path / 'set.bin'}", *arguments]
    assert run_command(lib.COMMAND, lib.main, words) == 1
    message = capsys.readouterr().err
    assert arguments[0].partition("=")[0].removeprefix("--") in message and message.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_where_to_write_must_be_said_and_a_dry_run_writes_nothing(tmp_path, capsys):
    assert run_command(lib.COMMAND, lib.main, []) == 1
    assert capsys.readouterr().err.startswith("error: --output: not given")
    assert run_command(lib.COMMAND, lib.main, [f"--output={tmp_path / 'a'}", "--dry_run"]) == 0
    assert "would choose 701 permutations" in capsys.readouterr().out
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_the_command_regenerates_the_shipped_set_bit_for_bit(tmp_path):
    assert started(tmp_path / "set.bin").returncode == 0
    assert (tmp_path / "set.bin").read_bytes() == lib.SHIPPED.read_bytes()


def test_hamming_distances_against_loops():
    permutations = lib.generate_permutations(30, 3, seed=2)
    assert sorted(lib.hamming_distances(permutations)) == sorted(pairwise_distances(permutations))


def test_any_two_differ_in_a_visible_slot_under_two_occlusions():
    shipped = lib.load_permutations(lib.SHIPPED)
    for hidden in itertools.combinations(range(9), 2):
        visible = np.delete(shipped, hidden, axis=1)
        assert len(np.unique(visible, axis=0)) == len(visible)


def test_set_sizes():
    np.testing.assert_array_equal(
        lib.permutation_set(100), lib.load_permutations(lib.SHIPPED)[:100]
    )
    with pytest.raises(InputError, match="701 permutations"):
        lib.permutation_set(800, str(lib.SHIPPED))


def test_unreachable_distance_is_refused():
    with pytest.raises(InputError, match="only 9 permutations"):
        lib.generate_permutations(20, 9, seed=0)
    with pytest.raises(InputError, match="at least 2"):
        lib.generate_permutations(1, 3)


def test_file_round_trip(tmp_path):
    permutations = lib.generate_permutations(12, 3, seed=5)
    lib.save_permutations(permutations, tmp_path / "set.bin")
    np.testing.assert_array_equal(lib.load_permutations(tmp_path / "set.bin"), permutations)


def as_bytes(*values):
    return np.array(values, "<i4").tobytes()


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "not a permutation file"),
        (b"\x00" * 37, "not a permutation file"),
        (as_bytes(1, 9, *range(1, 10)), "at least 2"),
        (as_bytes(2, 9, *range(1, 10), *range(1, 10)), "repeat"),
        (as_bytes(2, 9, *range(9), *range(1, 10)), "not a permutation of nine"),
        (as_bytes(3, 9, *range(1, 10), *range(1, 10)), "not a permutation file"),
        (as_bytes(2, 4, *range(1, 5), *range(1, 5)), "not a permutation file"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / "set.bin").write_bytes(content)
    with pytest.raises(InputError, match=message):
        lib.load_permutations(tmp_path / "set.bin")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such"):
        lib.load_permutations(tmp_path / "none.bin")


@pytest.mark.skipif(
    not AUTHORS_FILE.is_file(), reason="the authors' permutation file is not at hand"
)
def test_authors_file_loads():
    permutations = lib.load_permutations(AUTHORS_FILE)
    assert permutations.shape == (701, 9)
    assert pairwise_distances(permutations).min() == 3
