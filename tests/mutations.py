"""Files as a failing disk, a cut connection or a joker leaves them."""

import numpy as np


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """Returns `content` with one to three bits flipped, cut, with zeros, or with blocks swapped."""
    damaged, end = bytearray(content), len(content)
    kind = random.integers(5)
    if kind < 2:
        # Close together: the name of a zip's member is in two places, and has no checksum.
        start = random.integers(end)
        for place in random.integers(start, min(end, start + 16), random.integers(1, 4)):
            damaged[place] ^= 1 << random.integers(8)
    elif kind == 2:
        del damaged[random.integers(end) :]
    elif kind == 3:
        start = random.integers(end)
        stop = min(end, start + random.integers(1, 600))
        damaged[start:stop] = bytes(stop - start)
    else:
        size = int(random.integers(1, min(512, end // 2) + 1))
        first = int(random.integers(end - 2 * size + 1))
        second = int(random.integers(first + size, end - size + 1))
        damaged[first : first + size] = content[second : second + size]
        damaged[second : second + size] = content[first : first + size]
    return bytes(damaged)
