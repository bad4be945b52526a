"""Jigsaw++ (paper section 4.1): solve a 3x3 puzzle with tiles of another image.

Up to two of the nine tiles come from there.
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
    """Predicts in which permutation tiles were shown, some hidden behind foreign ones.

    Most puzzles are grey.

    >>> from ccssl_tf import Epoch, JigsawPP
    >>> task = JigsawPP(data_dir=data_dir, image_size=32)
    >>> next(iter(task.dataset("train", Epoch(batch_size=8))))["image"].shape.as_list()
    [8, 30, 30, 3]
    """

    Settings = JigsawPPSettings
    batch_multiple = tiles_lib.GROUP
    drawn = f"tile offsets, 0 to {tiles_lib.MAX_OCCLUSIONS} occluding tiles"

    def occlude(self, tiles, seed):
        """Returns the tiles [B, 9, t, t, 3] and which of them are foreign [B, 9] bool.

        Up to two are replaced by another image's.
        """
        return tiles_lib.occlude(tiles, seed)
