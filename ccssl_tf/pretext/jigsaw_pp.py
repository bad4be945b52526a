"""Jigsaw++ (paper section 4.1): solve a 3x3 puzzle in which up to two tiles come from another
image.
"""

from ccssl_tf.pretext import tiles as tiles_lib
from ccssl_tf.pretext.jigsaw import Jigsaw


class JigsawPP(Jigsaw):
    """Predicts which permutation the tiles were shown in, some of them hidden behind foreign ones;
    mostly grey.
    """

    batch_multiple = tiles_lib.GROUP
    published_gray_probability = 0.7
    drawn = f"tile offsets, 0 to {tiles_lib.MAX_OCCLUSIONS} occluding tiles"

    def occlude(self, tiles, seed):
        """Returns the tiles [B, 9, t, t, 3], up to two of them replaced by another image's, and
        which those are [B, 9] bool.
        """
        return tiles_lib.occlude(tiles, seed)
