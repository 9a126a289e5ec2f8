"""A PNG whose pixel data has not exactly the rows of the image is refused; Pillow would leave rows black."""

from __future__ import annotations

import itertools
import zlib

import pytest

from forebay.stream.decode.formats.image import ImageFeatures, ImageFormat
from forebay.stream.decode.formats.image_options import ImageOptions
from forebay.stream.decode.formats.payload import InvalidPayload
from forebay.stream.decode.formats.png_pixels import check_pixel_data
from tests.decode.formats.images import encoded, interlaced, picture, with_pixel_data

WIDTH, HEIGHT = 20, 12
CHANNELS = {"1": 1 / 8, "L": 1, "P": 1, "LA": 2, "RGB": 3, "RGBA": 4}


def with_rows(png: bytes, num_bytes: int) -> bytes:
    """Return a PNG whose pixel data has a length once inflated."""
    return with_pixel_data(png, zlib.compress(bytes(num_bytes)))


def refusal(png: bytes) -> str:
    features = ImageFormat(ImageOptions(10_000, "refuse", "none")).document(png)["features"]
    assert isinstance(features, ImageFeatures)
    with pytest.raises(InvalidPayload) as refused:
        features.row((4, HEIGHT, WIDTH))
    return refused.value.message


@pytest.mark.parametrize("mode", CHANNELS)
def test_too_few_and_too_many_rows_are_refused(mode: str) -> None:
    png = encoded(picture(WIDTH, HEIGHT, mode))
    row_bytes = 1 + -int(-WIDTH * CHANNELS[mode] // 1)
    size = row_bytes * HEIGHT
    check_pixel_data(with_rows(png, size))
    for length in (0, 1, row_bytes, size - row_bytes, size - 1):
        assert refusal(with_rows(png, length)) == (
            f"the pixel data of the PNG has {length} bytes; its 20×12 pixels take {size}"
        )
    for length in (size + 1, size + row_bytes, size + 1_000_000):
        assert refusal(with_rows(png, length)) == (
            f"the pixel data of the PNG has more bytes; its 20×12 pixels take {size}"
        )


def test_data_that_is_damaged_or_truncated_is_refused() -> None:
    png = encoded(picture(WIDTH, HEIGHT))
    data = zlib.compress(bytes(12 * 61))
    for length in range(len(data)):
        assert refusal(with_pixel_data(png, data[:length])) == "the pixel data of the PNG is truncated"
    for place in (0, 1, len(data) - 1):
        damaged = bytearray(data)
        damaged[place] ^= 1
        assert refusal(with_pixel_data(png, bytes(damaged))).startswith("the pixel data of the PNG is damaged: ")


@pytest.mark.parametrize(("colour", "bits"), [(0, 1), (0, 8), (2, 8), (3, 4), (6, 8)])
def test_the_passes_of_interlaced_files_are_counted_as_pillow_does(colour: int, bits: int) -> None:
    channels = {0: 1, 2: 3, 3: 1, 6: 4}[colour]
    for width, height in itertools.product((1, 2, 3, 5, 8, 9), repeat=2):
        size = 0
        for column, row, across, down in (
            (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
        ):  # fmt: skip
            columns, rows = len(range(column, width, across)), len(range(row, height, down))
            size += rows * (1 + (columns * channels * bits + 7) // 8) if columns else 0
        check_pixel_data(interlaced(width, height, colour=colour, bits=bits, num_bytes=size))
        for wrong in (size - 1, size + 1):
            with pytest.raises(InvalidPayload, match=f"take {size}"):
                check_pixel_data(interlaced(width, height, colour=colour, bits=bits, num_bytes=wrong))
