"""Draws one labelled picture: a lit, textured, partly hidden object before a cluttered landscape; a
pure function of its seeds.

Light comes from one side and falls on everything, sky lies above ground and objects stand roughly
in the middle, so that the parts of a picture tell where they belong; pose, colours, texture and
clutter vary, so that raw pixels tell little about the class.
"""

import io
import zlib

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from data_prep.image_set import ImageSet, Item
from data_prep.outlines import CLASS_NAMES, OBJECTS, polygon

_SUPERSAMPLING = 2
_JPEG_QUALITY = 92


def image_set(num_pictures: dict[str, int], image_size: int, seed: int) -> ImageSet:
    """Returns the pictures to draw: `num_pictures` maps split names to how many, `image_size` is
    their side in pixels.
    """
    size = image_size * image_size  # About a byte a pixel; the conversion measures it.
    splits = {
        split: [
            Item(
                b"%s-%06d.jpg" % (split.encode(), i),
                label_of(i),
                size,
                (seed, split, i, image_size),
            )
            for i in range(count)
        ]
        for split, count in num_pictures.items()
        if count
    }
    return ImageSet(splits, CLASS_NAMES, "shapes", draw)


def draw(location: tuple) -> bytes:
    """Draws the picture at (seed, split, index, image size)."""
    return draw_picture(*location)


def label_of(index: int) -> int:
    """Returns the class of the picture with this index: each in turn, so that classes
    are balanced.
    """
    return index % len(CLASS_NAMES)


def draw_picture(seed: int, split: str, index: int, image_size: int) -> bytes:
    """Draws picture `index` of `split`.

    Args:
      seed: of the whole set.
      split: splits with other names hold other pictures.
      index: from 0; gives the class, see `label_of`.
      image_size: side in pixels.

    Returns:
      JPEG bytes.
    """
    rng = np.random.default_rng([seed, zlib.crc32(split.encode()), index])
    side = image_size * _SUPERSAMPLING
    # Towards the light, y down. Python floats: NumPy's would widen every float32 array they meet.
    light = (float(rng.choice([-1, 1])) * rng.uniform(0.6, 1.0), rng.uniform(-0.8, -0.3))
    scene = _landscape(rng, side)
    mask, colours = _object(rng, CLASS_NAMES[label_of(index)], side)
    scene *= 1 - 0.45 * _shadow(mask, light, side)[..., None]
    surface = colours * _texture(rng, side)[..., None] * _relief(mask, light, side)[..., None]
    coverage = (np.asarray(mask, np.float32) / 255)[..., None]
    scene += coverage * (surface - scene)
    scene = _occlude(rng, scene, mask, side)
    scene *= _light_fall(light, side)[..., None] * rng.uniform(0.85, 1.1)
    scene += _noise(rng, side, side // 2)[..., None] * rng.uniform(2, 10)
    picture = Image.fromarray(np.clip(scene, 0, 255).astype(np.uint8)).reduce(_SUPERSAMPLING)
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return encoded.getvalue()


def _colour(rng, low, high):
    """A random colour [3] whose mean brightness lies in [low, high] of 255."""
    colour = rng.uniform(0, 1, 3) ** 1.5 + 0.1
    return np.minimum(colour / colour.mean() * rng.uniform(low, high) * 255, 255).astype(np.float32)


def _noise(rng, side, cells):
    """Smooth noise [side, side] float32 of about zero mean and unit deviation; `cells` across."""
    grid = Image.fromarray(rng.standard_normal((cells, cells), np.float32))
    return np.asarray(grid.resize((side, side), Image.Resampling.BILINEAR)) * 1.4


def _texture(rng, side):
    """Brightness factors [side, side]: blotches at two scales, sometimes with stripes or a
    chequered pattern.
    """
    factor = (
        1
        + 0.1 * _noise(rng, side, int(rng.integers(4, 9)))
        + 0.1 * _noise(rng, side, int(rng.integers(16, 40)))
    )
    kind = rng.integers(3)
    if kind:
        angle, period = rng.uniform(0, np.pi), rng.uniform(0.08, 0.2) * side
        x, y = np.meshgrid(
            np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32), sparse=True
        )
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period))
        if kind == 2:
            wave = wave * np.sin((y * np.cos(angle) - x * np.sin(angle)) * (2 * np.pi / period))
        factor += rng.uniform(0.1, 0.3) * np.sign(wave)
    return factor


def _landscape(rng, side):
    """Sky above ground [side, side, 3] float32, both with gradients and texture, and small things
    scattered about.
    """
    rows = np.arange(side, dtype=np.float32)[:, None]
    columns = np.arange(side, dtype=np.float32)[None]
    horizon = rng.uniform(0.42, 0.66) * side + rng.uniform(-0.12, 0.12) * (columns - side / 2)
    horizon = horizon + 0.02 * side * _noise(rng, side, 6)[:1]
    above, below = np.clip((horizon - rows) / side, 0, 1), np.clip((rows - horizon) / side, 0, 1)
    sky_far, sky_near = _colour(rng, 0.7, 0.95), _colour(rng, 0.45, 0.75)
    ground_far, ground_near = _colour(rng, 0.4, 0.65), _colour(rng, 0.2, 0.45)
    clouds = 0.08 * _noise(rng, side, 5)
    # Furrows come closer together and fainter towards the horizon.
    depth = 1 / (below + 0.08)
    furrows = np.sin(
        depth * rng.uniform(8, 16) + columns * rng.uniform(-0.06, 0.06) + rng.uniform(0, 6)
    ) * np.minimum(below * 3, 1)
    grain = _noise(rng, side, int(rng.integers(24, 48)))
    is_sky = rows < horizon
    zone = is_sky.astype(np.intp)
    far, near = np.stack([ground_far, sky_far]), np.stack([ground_near, sky_near])
    distance = np.minimum(np.where(is_sky, above * 1.6, below * 2), 1)
    scene = far.take(zone, axis=0) + (near - far).take(zone, axis=0) * distance[..., None]
    scene *= (1 + np.where(is_sky, clouds, 0.14 * furrows + 0.16 * grain * (0.3 + below)))[
        ..., None
    ]
    canvas = Image.fromarray(np.clip(scene, 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(canvas)
    for _ in range(rng.integers(6, 13)):
        size = rng.uniform(0.03, 0.11) * side
        corners = polygon(int(rng.integers(3, 8))) * rng.uniform(0.5, 1.3, 2) * size + rng.uniform(
            0, side, 2
        )
        pen.polygon(
            corners.ravel().tolist(), fill=tuple(_colour(rng, 0.15, 0.9).astype(int).tolist())
        )
    return np.asarray(canvas, np.float32).copy()


def _object(rng, name, side):
    """Draws the object: coverage (mode L image) and colours [side, side, 3] float32."""
    radius = rng.uniform(0.275, 0.45) * side
    angle = rng.uniform(-0.55, 0.55)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.diag(radius * rng.uniform(0.85, 1.0, 2) * [rng.choice([-1, 1]), 1])
    shear = np.array([[1, rng.uniform(-0.2, 0.2)], [0, 1]])
    transform = turn @ shear @ stretch
    centre = side * (0.5 + rng.uniform(-0.1, 0.1, 2) + [0, 0.02])
    base = _colour(rng, 0.25, 0.8)
    palette = [base, _colour(rng, 0.5, 0.95), base * 0.4 + _colour(rng, 0.05, 0.3) * 0.6]
    mask, colours = Image.new("L", (side, side)), Image.new("RGB", (side, side))
    mask_pen, colour_pen = ImageDraw.Draw(mask), ImageDraw.Draw(colours)
    for corners, fill in OBJECTS[name]:
        outline = (corners @ transform.T + centre).ravel().tolist()
        mask_pen.polygon(outline, fill=0 if fill is None else 255)
        if fill is not None:
            colour_pen.polygon(outline, fill=tuple(palette[fill].astype(int).tolist()))
    return mask, np.asarray(colours, np.float32)


def _relief(mask, light, side):
    """Brightness factors [side, side]: the outline, blurred, is a height field lit from
    one side.
    """
    height = np.asarray(
        mask.filter(ImageFilter.BoxBlur(side * 0.05)).filter(ImageFilter.BoxBlur(side * 0.03)),
        np.float32,
    )
    slope_y, slope_x = np.gradient(height)
    facing = -(slope_x * light[0] + slope_y * light[1]) * (side / 255 / 8)
    return 1 + np.clip(0.9 * facing, -0.55, 0.6)


def _shadow(mask, light, side):
    """How much of the light the object keeps away [side, side], in [0, 1]: its outline, shrunk,
    moved from the light, blurred.
    """
    offset_x, offset_y = int(-light[0] * 0.14 * side), int(0.08 * side)
    moved = Image.new("L", mask.size)
    moved.paste(mask, (offset_x, offset_y))
    return np.asarray(moved.filter(ImageFilter.BoxBlur(side * 0.03)), np.float32) / 255


def _light_fall(light, side):
    """Brightness factors [side, side]: bright towards the light, dim away from it."""
    ramp = np.linspace(-1, 1, side, dtype=np.float32)
    return (1 + 0.3 * light[0] * ramp[None]) * (1 + 0.18 * light[1] * ramp[:, None])


def _occlude(rng, scene, mask, side):
    """Lays one or two plain shapes over the edge of the object: each hides up to about a fifth of
    it.
    """
    inside = np.argwhere(np.asarray(mask) > 0)
    for _ in range(rng.integers(1, 3)):
        centre = inside[rng.integers(len(inside))][::-1] + rng.uniform(-0.08, 0.08, 2) * side
        if rng.random() < 0.4:
            angle = rng.uniform(0, np.pi)
            along, across = (
                np.array([np.cos(angle), np.sin(angle)]),
                np.array([-np.sin(angle), np.cos(angle)]),
            )
            corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [
                side,
                rng.uniform(0.015, 0.04) * side,
            ]
            corners = corners[:, :1] * along + corners[:, 1:] * across + centre
        else:
            corners = polygon(int(rng.integers(3, 7))) * rng.uniform(0.08, 0.17, 2) * side + centre
        cover = Image.new("L", (side, side))
        ImageDraw.Draw(cover).polygon(corners.ravel().tolist(), fill=255)
        hidden = np.asarray(cover) > 0
        scene[hidden] = (
            _colour(rng, 0.15, 0.85) * (1 + 0.15 * _noise(rng, side, 20)[hidden])[:, None]
        )
    return scene
