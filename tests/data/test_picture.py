"""Ordinary pictures become the inputs that the data sets would have made of them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tinygrad_fm import data
from tinygrad_fm.data import PictureError, as_input, read_picture
from tinygrad_fm.data.picture import MAX_PIXELS, digit_input, fashion_input

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def photo(image: np.ndarray, paper: int = 255, scale: int = 15) -> Image.Image:
    """An input as a large picture: dark on light paper, or for paper 0 as it is."""
    grey = paper - image * (paper / 255) if paper else image
    large = np.kron(grey.astype(np.uint8), np.ones((scale, scale), np.uint8))
    canvas = Image.new("RGB", (640, 800), (paper,) * 3)
    canvas.paste(Image.fromarray(large), (90, 170))
    return canvas


def margins(image: np.ndarray) -> tuple[int, int, int, int]:
    """Empty rows above and below, empty columns left and right."""
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    return rows[0], 27 - rows[-1], columns[0], 27 - columns[-1]


@pytest.fixture(scope="module")
def inputs():
    """Garments that fill the longer edge and are centred, as in Fashion-MNIST."""
    drawn = data.Garments(train=False, size=60).images[:, 0]
    fitted = [fashion_input(Image.fromarray(image).convert("RGB")) for image in drawn]
    clear = [np.where(image > 25, image, 0) for image in fitted]
    found = []
    for image in clear:
        above, below, left, right = margins(image)
        if min(above, left) == 0 <= above - below <= 1 and 0 <= left - right <= 1:
            found.append(image)
    assert len(found) > 20
    return found[:20]


@pytest.mark.parametrize("paper", [255, 200, 0], ids=["white", "grey", "black"])
def test_an_input_that_was_enlarged_comes_back(inputs, paper):
    for image in inputs:
        back = fashion_input(photo(image, paper))
        assert back.shape == (28, 28)
        assert back.dtype == np.uint8
        assert np.abs(back.astype(float) - image).mean() < 5


def test_an_input_that_was_enlarged_is_classified_alike(inputs):
    """By the garment whose mean it is nearest to: what any classifier would rest on."""
    train = data.Garments(size=2000)
    means = [train.images[train.labels == k, 0].mean(axis=0) for k in range(10)]

    def nearest(image):
        return np.argmin([np.square(mean - image).sum() for mean in means])

    same = [nearest(image) == nearest(fashion_input(photo(image))) for image in inputs]
    assert np.mean(same) > 0.95


def test_a_garment_fills_the_longer_edge_and_is_centred_on_black():
    wide = Image.new("RGB", (500, 300), WHITE)
    wide.paste(BLACK, (20, 100, 420, 200))  # 400 × 100 -> 28 × 7
    got = fashion_input(wide)
    assert np.flatnonzero(got.max(axis=1)).tolist() == list(range(11, 18))
    assert got[11:18].min() == 255


def test_light_garments_on_dark_are_not_negated():
    dark = Image.new("RGB", (100, 100), (30, 30, 30))
    dark.paste((255, 255, 255), (40, 20, 60, 80))
    got = fashion_input(dark)
    assert got[14, 14] == 255
    assert got[0, 0] == 0


def test_a_digit_is_fitted_to_20_pixels_and_centred_by_its_mass():
    digit = Image.new("RGB", (300, 300), WHITE)
    digit.paste((90, 90, 90), (10, 20, 50, 220))  # a one, pale, with a heavy foot
    digit.paste((90, 90, 90), (10, 180, 110, 220))
    got = digit_input(digit)
    assert np.ptp(np.nonzero(got > 40)[0]) + 1 == 20
    assert got.max() == 255
    y, x = ndimage.center_of_mass(got)
    assert abs(y - 14) < 0.75
    assert abs(x - 14) < 0.75


def test_the_data_set_decides_how():
    picture = Image.new("RGB", (60, 60), WHITE)
    picture.paste(BLACK, (20, 20, 40, 40))
    assert (as_input(picture, "mnist") > 0).sum() == 400
    for clothes in ("fashion-mnist", "garments"):
        assert (as_input(picture, clothes) > 0).sum() == 784


def test_a_white_shirt_on_a_grey_wall_is_seen():
    wall = Image.new("RGB", (100, 100), (190, 190, 190))
    wall.paste(WHITE, (40, 20, 60, 80))
    assert fashion_input(wall)[14, 14] == 255


@pytest.mark.parametrize("make", [fashion_input, digit_input])
def test_a_picture_that_shows_nothing_is_refused(make):
    blank = Image.new("RGB", (50, 50), (250, 251, 252))
    with pytest.raises(PictureError, match="nothing but background"):
        make(blank)
    blank = Image.new("RGB", (50, 50), (100, 100, 100))
    blank.paste((150, 80, 72), (10, 10, 20, 20))  # red, as light as the grey around it
    with pytest.raises(PictureError, match="nothing but background"):
        make(blank)


# ------------------------------------------------------------------------------------- files


def bar(mode: str) -> Image.Image:
    """A dark bar at the top of a light picture, in any mode."""
    picture = Image.new("L", (40, 60), 255)
    picture.paste(0, (10, 5, 30, 15))
    if mode == "I;16":
        return Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    if mode in ("RGBA", "LA"):  # nothing but the bar is there
        clear = picture.convert(mode)
        clear.putalpha(Image.fromarray(255 - np.asarray(picture)))
        return clear
    return picture.convert(mode)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png_reads_the_same(tmp_path, mode):
    bar(mode).save(tmp_path / "bar.png")
    got = np.asarray(read_picture(tmp_path / "bar.png"))
    np.testing.assert_array_equal(got, np.asarray(bar("RGB")))


@pytest.mark.parametrize("bits", [np.uint8, np.uint16])
def test_the_transparent_shade_of_a_grey_png_becomes_white(tmp_path, bits):
    grey = np.full((40, 60), 77, bits)
    grey[5:15, 10:30] = 0
    Image.fromarray(grey).save(tmp_path / "bar.png", transparency=77)
    got = np.asarray(read_picture(tmp_path / "bar.png"))
    np.testing.assert_array_equal(got, np.where(grey[..., None] == 77, 255, [0, 0, 0]))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_every_kind_of_jpeg_reads_nearly_the_same(tmp_path, mode):
    bar(mode).save(tmp_path / "bar.jpg", quality=95)
    got = np.asarray(read_picture(tmp_path / "bar.jpg"), float)
    assert np.abs(got - np.asarray(bar("RGB"))).mean() < 3


def test_a_photo_taken_sideways_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90° to the right
    bar("RGB").save(tmp_path / "sideways.jpg", exif=exif, quality=95)
    got = read_picture(tmp_path / "sideways.jpg")
    assert got.size == (60, 40)
    assert np.asarray(got.convert("L"))[:, 45:55].mean() < 150  # what was above is on the right


def test_large_pictures_are_shrunk(tmp_path):
    Image.new("RGB", (3000, 1500), WHITE).save(tmp_path / "large.png")
    assert read_picture(tmp_path / "large.png").size == (1024, 512)


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header declares a size and whose content is nearly nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        sum_ = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", sum_)

    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    content = zlib.compress(b"\0" * 100)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((2**31 - 1, 2**31 - 1), "too large|wanted at most"),
        ((MAX_PIXELS // 1000 + 1, 1000), r"declares 50,001 × 1,000 pixels, wanted at most 50,000,"),
        ((5000, 10), "a strip shows no garment"),
        ((0, 10), "declares 0|damaged|is no PNG"),
    ],
)
def test_absurd_sizes_are_refused_before_they_are_decoded(tmp_path, size, message):
    (tmp_path / "absurd.png").write_bytes(png_of_size(*size))
    with pytest.raises(PictureError, match=message):
        read_picture(tmp_path / "absurd.png")


def test_too_little_memory_is_not_taken_for_damage(tmp_path):
    resource = pytest.importorskip("resource")
    Image.new("L", (7000, 7000)).save(tmp_path / "large.png")  # 196 MB as RGB
    limits = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (16 << 20), limits[1]))
    try:
        with pytest.raises(PictureError, match=r"large\.png is too large for the memory"):
            read_picture(tmp_path / "large.png")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_what_is_no_picture_or_torn_is_named(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    file = io.BytesIO()
    Image.effect_noise((200, 200), 50).save(file, "PNG")
    (tmp_path / "torn.png").write_bytes(file.getvalue()[:5000])
    bar("RGB").save(tmp_path / "other.png", "TIFF")
    for name, message in (
        ("text.png", "text.png is no PNG or JPEG"),
        ("torn.png", "torn.png is a damaged PNG or JPEG"),
        ("other.png", "other.png is no PNG or JPEG"),
    ):
        with pytest.raises(PictureError, match=message):
            read_picture(tmp_path / name)
