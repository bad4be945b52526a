import numpy as np

from ccssl_tf.pictures.ranking import draw_rankings

SIDE, FRAME, GAP, LINE = 96, 3, 4, 15


def test_frames_tell_what_is_there(voc_dir):
    random = np.random.default_rng(0)
    scores, presence = random.normal(size=[10, 4]), random.integers(-1, 2, [10, 4])
    picture = draw_rankings(voc_dir, "test", list("abcd"), scores, presence, num_images=5)
    cell = SIDE + 2 * FRAME + GAP
    assert picture.shape == (4 * (cell + LINE), 5 * cell + GAP, 3) and picture.dtype == np.uint8
    colours = {1: (30, 130, 50), -1: (200, 40, 40), 0: (150, 150, 150)}
    for number in range(4):
        for rank, index in enumerate(np.argsort(-scores[:, number])[:5]):
            corner = picture[number * (cell + LINE) + LINE, GAP + rank * cell]
            assert tuple(corner.tolist()) == colours[int(presence[index, number])]
