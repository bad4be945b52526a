import io

import numpy as np
import pytest
from PIL import Image

from data_prep import jpeg

HEIGHT, WIDTH = 37, 50


def _encode(mode="RGB", kind="JPEG", **options):
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    noise = np.random.default_rng(0).integers(0, 60, (HEIGHT, WIDTH, 3))
    pixels = np.stack([columns * 4, rows * 5, rows + columns], -1) + noise
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode).save(file, kind, **options)
    return file.getvalue()


def _exif():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


SOUND = {
    "baseline": (_encode(), 3, False),
    "progressive": (_encode(progressive=True), 3, False),
    "no_subsampling": (_encode(subsampling=0, optimize=True), 3, False),
    "restarts": (_encode(restart_marker_blocks=2), 3, False),
    "grey": (_encode("L"), 1, False),
    "cmyk": (_encode("CMYK"), 4, False),
    "comment": (_encode(comment=b"\xff\xda\xff\xc0 not a marker"), 3, False),
    "exif": (_encode(exif=_exif()), 3, True),
    "mpo": (_encode(kind="MPO", save_all=True, append_images=[Image.new("RGB", (4, 4))]), 3, False),
}


@pytest.mark.parametrize("kind", SOUND)
def test_header_says_what_pillow_says(kind):
    data, components, has_metadata = SOUND[kind]
    image = Image.open(io.BytesIO(data))
    assert jpeg.read_header(data) == (image.height, image.width, components, has_metadata)
    assert (image.height, image.width, len(image.getbands())) == (HEIGHT, WIDTH, components)
    jpeg.check(data, jpeg.read_header(data))


def _with_frame(data, marker, precision=8):
    at = data.index(b"\xff\xc0")
    return (
        data[: at + 1]
        + bytes([marker])
        + data[at + 2 : at + 4]
        + bytes([precision])
        + data[at + 5 :]
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        _encode()[:100],
        _with_frame(_encode(), 0xC9),  # Arithmetic coding.
        _with_frame(_encode(), 0xC3),  # Lossless.
        _with_frame(_encode(), 0xC1, precision=12),
        b"\xff\xd8" + b"\xff" * 50,
        b"\xff\xd8\xff\xe0\x00\x00" + _encode()[2:],
    ],
)
def test_other_headers_are_left_to_others(data):
    assert jpeg.read_header(data) is None


def test_strict_check_never_passes_what_tensorflow_refuses():
    """The shortcut is sound: on thousands of damaged files it accepts none that the full decoder
    refuses or warns about.
    """
    rng = np.random.default_rng(1)
    passed = refused = 0
    for kind in ("baseline", "progressive", "no_subsampling", "restarts", "grey"):
        data = SOUND[kind][0]
        for trial in range(160):
            damaged = bytearray(data)
            for at in rng.integers(2, len(data), rng.integers(1, 4)):
                damaged[at] = rng.integers(256)
            if trial % 4 == 0:
                del damaged[rng.integers(len(data) // 2, len(data)) :]
            header = jpeg.read_header(bytes(damaged))
            if header is None or header.height * header.width > 10**6:
                continue
            try:
                jpeg.check_strictly(bytes(damaged))
            except jpeg.BadImage:
                refused += 1
                continue
            jpeg.check(bytes(damaged), None)  # No header: TensorFlow decides.
            passed += 1
    assert passed > 50 and refused > 200


def test_a_few_stray_bytes_are_forgiven_as_tensorflow_does():
    data = _encode(quality=95)
    stray = data[:-2] + b"\x00" * 10 + data[-2:]
    with pytest.raises(jpeg.BadImage):
        jpeg.check_strictly(stray)
    jpeg.check(stray, jpeg.read_header(stray))
    many = data[:-2] + b"\x00" * (len(data) // 10) + data[-2:]
    with pytest.raises(jpeg.BadImage, match="extraneous bytes"):
        jpeg.check(many, jpeg.read_header(many))


def test_cut_files_are_broken():
    for kind in ("baseline", "progressive", "grey", "exif"):
        data = SOUND[kind][0]
        for length in (len(data) - 2, len(data) * 3 // 4):
            cut = data[:length]
            with pytest.raises(jpeg.BadImage):
                jpeg.check(cut, jpeg.read_header(cut))
