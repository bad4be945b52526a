"""Jigsaw++ (paper section 4.1): solve a 3x3 puzzle in which up to two tiles come from another
image.
"""

import dataclasses

from ccssl_tf.pretext import tiles as tiles_lib
from ccssl_tf.pretext.jigsaw import Jigsaw, JigsawSettings
from ccssl_tf.runs.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class JigsawPPSettings(JigsawSettings):
    """--task=jigsaw_pp."""

    gray_probability: float = setting(
        0.7, "Share of grey puzzles.", minimum=0, maximum=1, paper=0.7
    )


class JigsawPP(Jigsaw):
    """Predicts which permutation the tiles were shown in, some of them hidden behind foreign ones;
    mostly grey.
    """

    Settings = JigsawPPSettings
    batch_multiple = tiles_lib.GROUP
    drawn = f"tile offsets, 0 to {tiles_lib.MAX_OCCLUSIONS} occluding tiles"

    def occlude(self, tiles, seed):
        """Returns the tiles [B, 9, t, t, 3], up to two of them replaced by another image's, and
        which those are [B, 9] bool.
        """
        return tiles_lib.occlude(tiles, seed)
