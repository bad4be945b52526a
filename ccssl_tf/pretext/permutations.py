"""Sets of tile permutations: the classes of the jigsaw tasks.

They follow Noroozi and Favaro 2016, section 3.1. `permutations_701.bin` is the set in use, which
this regenerates bit for bit:

    python -m ccssl_tf.pretext.permutations --output=FILE
"""

import dataclasses
import itertools
import pathlib

import numpy as np

from ccssl_tf.runs.command import Command
from ccssl_tf.runs.errors import InputError
from ccssl_tf.runs.files import write_bytes
from ccssl_tf.runs.launch import launch
from ccssl_tf.runs.settings import CommandSettings, SeedSettings, setting
from ccssl_tf.runs.values import Values

NUM_TILES = 9
SHIPPED = pathlib.Path(__file__).with_name("permutations_701.bin")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PermutationsSettings(CommandSettings, SeedSettings):
    """This command."""

    num_permutations: int = setting(
        701, "Permutations to choose.", minimum=2, maximum=362_880, paper=701
    )
    min_hamming_distance: int = setting(
        3,
        "Slots in which any two differ at least.",
        minimum=2,
        maximum=NUM_TILES,
        paper=3,
    )
    output: str = setting(help="File to write.")


COMMAND = Command("ccssl_tf.pretext.permutations", __doc__, (PermutationsSettings,))


def generate_permutations(
    num_permutations: int, min_hamming_distance: int = 3, seed: int = 0
) -> np.ndarray:
    """Chooses permutations of nine tiles that are far apart.

    Each next one is that of the 9! with the largest mean Hamming distance to those chosen, among
    those at least `min_hamming_distance` from every one of them; ties and the first are drawn with
    the seed. The identity is never chosen. At distance 3 and with at most two tiles occluded, any
    two still differ in a visible slot.

    Args:
      num_permutations: P, at least 2.
      min_hamming_distance: slots in which any two must differ, 2 to 9.
      seed: of the draws.

    Returns:
      [P, 9] int64, values 0 to 8, rows distinct.

    Raises:
      InputError: fewer permutations than asked keep that distance.
    """
    if num_permutations < 2 or not 2 <= min_hamming_distance <= NUM_TILES:
        raise InputError(
            f"{num_permutations} permutations at distance {min_hamming_distance}: need at least 2 "
            "at a distance of 2 to 9"
        )
    everything = np.array(list(itertools.permutations(range(NUM_TILES))), np.int8)
    priority = np.random.default_rng(seed).permutation(len(everything)).astype(np.float64) / len(
        everything
    )
    total = np.zeros(len(everything))
    allowed = np.ones(len(everything), bool)
    allowed[0] = False
    chosen = []
    for _ in range(num_permutations):
        if not allowed.any():
            raise InputError(
                f"only {len(chosen)} permutations keep a Hamming distance of "
                f"{min_hamming_distance}, {num_permutations} asked; lower one of them"
            )
        best = int(np.argmax(np.where(allowed, total + priority, -1)))
        chosen.append(everything[best])
        distance = (everything != everything[best]).sum(1)
        total += distance
        allowed &= distance >= min_hamming_distance
    return np.array(chosen, np.int64)


def check_permutations(permutations: np.ndarray, source: str) -> np.ndarray:
    """Returns the permutations as [P, 9] int64 of values 0 to 8.

    Raises:
      InputError: rows are no permutations or repeat; the message names `source`.
    """
    if permutations.ndim != 2 or permutations.shape[1] != NUM_TILES or len(permutations) < 2:
        raise InputError(
            f"{source}: holds an array of shape {permutations.shape}, not [P, 9] with P of at "
            "least 2"
        )
    if not (np.sort(permutations, 1) == np.arange(NUM_TILES)).all():
        raise InputError(f"{source}: a row is not a permutation of nine tiles")
    if len(np.unique(permutations, axis=0)) != len(permutations):
        raise InputError(f"{source}: permutations repeat")
    return permutations.astype(np.int64)


def hamming_distances(permutations: np.ndarray) -> np.ndarray:
    """Returns in how many slots each two of the permutations [P, 9] differ.

    They are [P * (P - 1) / 2] int64.
    """
    return np.concatenate(
        [
            (permutations[:number] != permutation).sum(1)
            for number, permutation in enumerate(permutations)
        ]
    )


def load_permutations(path) -> np.ndarray:
    """Reads a permutation set in the authors' binary format.

    It is a little-endian int32 header (P, 9), then P rows of nine values 1 to 9.

    Returns:
      [P, 9] int64, values 0 to 8.

    Raises:
      InputError: no such file, or not a permutation file.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such permutation file")
    raw = path.read_bytes()
    values = np.frombuffer(raw[: len(raw) // 4 * 4], "<i4")
    if (
        len(raw) % 4
        or len(values) < 2
        or values[1] != NUM_TILES
        or len(values) != 2 + int(values[0]) * NUM_TILES
    ):
        raise InputError(
            f"{path}: not a permutation file (an int32 header P, 9 and P rows of nine values 1 to "
            "9)"
        )
    return check_permutations(values[2:].reshape(-1, NUM_TILES) - 1, str(path))


def save_permutations(permutations: np.ndarray, path):
    """Writes [P, 9] values 0 to 8 in the authors' format, wholly or not at all."""
    values = np.concatenate([[len(permutations), NUM_TILES], (permutations + 1).ravel()]).astype(
        "<i4"
    )
    write_bytes(path, values.tobytes())


def permutation_set(num_permutations: int, path: str | None = None) -> np.ndarray:
    """Returns the set a task trains on: the first rows of a file.

    By default the file is our own 701 at distance 3. The choice of permutations is greedy, so the
    first P of the 701 are the set that generating P gives. More than 701 are generated, at distance
    2.

    Raises:
      InputError: the file has fewer permutations than asked.
    """
    if not path and num_permutations > 701:
        return generate_permutations(num_permutations, min_hamming_distance=2, seed=0)
    permutations = load_permutations(path or SHIPPED)
    if len(permutations) < num_permutations:
        raise InputError(
            f"{path}: has {len(permutations)} permutations, --num_permutations={num_permutations} "
            "asks for more"
        )
    return permutations[:num_permutations]


def main(values: Values):
    """Writes a permutation set and prints its distances."""
    settings = values[PermutationsSettings]
    count, distance = settings.num_permutations, settings.min_hamming_distance
    if settings.dry_run:
        print(
            f"would choose {count} permutations with seed {settings.seed} and write "
            f"{settings.output}"
        )
        return
    permutations = generate_permutations(count, distance, settings.seed)
    save_permutations(permutations, settings.output)
    distances = hamming_distances(permutations)
    print(
        f"{settings.output}: {len(permutations)} permutations, Hamming distance min "
        f"{distances.min()}, mean {distances.mean() / NUM_TILES:.4f} of 9"
    )


if __name__ == "__main__":
    launch(COMMAND, main)
