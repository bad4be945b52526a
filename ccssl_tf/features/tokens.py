"""The rows of networks whose output is a sequence of tokens, as that of vision transformers.

In front of the patches, row by row, may stand a class token, and behind it others (registers, a
token of distillation): the prefix.
"""

import math

import tensorflow as tf

from ccssl_tf.runs.errors import InputError

CHOICES = ("all", "cls", "patches", "mean")
# Numbers of tokens that published networks have in front of the patches: none, a class token, one
# of distillation beside it, four or eight registers with or without it.
_USUAL_PREFIXES = (0, 1, 2, 4, 5, 8, 9)


def prefix_of(num_tokens: int, image_size: int, given: int | None) -> int:
    """Returns the number of tokens in front of a square of patches.

    Args:
      num_tokens: T, of the output.
      image_size: side of the images in pixels, a multiple of the patches'.
      given: by the user; None: found.

    Raises:
      InputError: what is given leaves no square, or what is found is not the only possibility.

    >>> prefix_of(197, 224, None), prefix_of(201, 224, None)
    (1, 5)
    """
    if given is not None:
        if math.isqrt(max(num_tokens - given, 0)) ** 2 != num_tokens - given or given >= num_tokens:
            raise InputError(
                f"--prefix_tokens={given}: the output has {num_tokens} tokens, and "
                f"{num_tokens - given} patches are no square"
            )
        return given
    possible = [
        prefix
        for prefix in _USUAL_PREFIXES
        if (side := math.isqrt(max(num_tokens - prefix, 0))) > 1
        and side**2 == num_tokens - prefix
        and image_size % side == 0
    ]
    if len(possible) != 1:
        found = f"{' or '.join(map(str, possible))}" if possible else "none of the usual numbers"
        raise InputError(
            f"the output has {num_tokens} tokens, of which {found} may stand in front of the "
            "patches; say --prefix_tokens"
        )
    return possible[0]


def chosen_tokens(outputs: tf.Tensor, tokens: str, prefix: int) -> tf.Tensor:
    """Returns what is asked for of a sequence of tokens.

    Args:
      outputs: [n, T, C].
      tokens: "all", the mean of all; "cls", the first; "patches", their map; "mean", the mean of
        the patches.
      prefix: number of tokens in front of the patches; not used for "all".

    Returns:
      [n, C], or for "patches" [n, s, s, C].
    """
    if tokens == "all":
        return tf.reduce_mean(outputs, 1)
    if tokens == "cls":
        return outputs[:, 0]
    patches = outputs[:, prefix:]
    if tokens == "mean":
        return tf.reduce_mean(patches, 1)
    side = math.isqrt(patches.shape[1])
    return tf.reshape(patches, [-1, side, side, patches.shape[2]])
