"""Images become the rows that training with Pillow sees, and what is not an image is refused by its header."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.formats.image import MAX_IMAGE_PIXELS, ImageFeatures, ImageFormat
from forebay.stream.decode.formats.image_options import ImageOptions, Resize, Scale
from forebay.stream.decode.formats.payload import InvalidPayload
from tests.decode.formats.images import encoded, exif, picture, png_chunk, with_chunk

MAX_PIXELS = 10_000
SIZE = (20, 12)  # width, height


def row(
    payload: bytes, shape: Sequence[int], *, resize: Resize = "refuse", scale: Scale = "none"
) -> NDArray[np.float32]:
    features = ImageFormat(ImageOptions(MAX_PIXELS, resize, scale)).document(payload)["features"]
    assert isinstance(features, ImageFeatures)
    return np.frombuffer(features.row(tuple(shape)), dtype="<f4").reshape(shape)


def fault(payload: bytes, shape: Sequence[int] = (3, 12, 20), *, resize: Resize = "refuse") -> tuple[str, str]:
    with pytest.raises(InvalidPayload) as refused:
        row(payload, shape, resize=resize)
    return refused.value.kind, refused.value.message


def as_pillow(payload: bytes, mode: str) -> NDArray[np.float32]:
    """Return [C, H, W] as Pillow alone decodes it."""
    with Image.open(BytesIO(payload)) as image:
        pixels = np.asarray(image.convert(mode))
    return np.atleast_3d(pixels).transpose(2, 0, 1).astype(np.float32)


FILES = {
    "RGB": encoded(picture(*SIZE)),
    "grey": encoded(picture(*SIZE, "L")),
    "black and white": encoded(picture(*SIZE, "1")),
    "palette": encoded(picture(*SIZE, "P")),
    "palette, 2 bits": encoded(picture(*SIZE).quantize(4), bits=2),
    "grey with alpha": encoded(picture(*SIZE, "LA")),
    "RGB with alpha": encoded(picture(*SIZE, "RGBA")),
    "many chunks": encoded(picture(*SIZE), compress_level=0),
    "JPEG": encoded(picture(*SIZE), "JPEG"),
    "grey JPEG": encoded(picture(*SIZE, "L"), "JPEG"),
    "progressive JPEG": encoded(picture(*SIZE), "JPEG", progressive=True, quality=95, subsampling=0),
    "WebP": encoded(picture(*SIZE), "WEBP"),
    "lossless WebP": encoded(picture(*SIZE), "WEBP", lossless=True),
    "WebP with alpha": encoded(picture(*SIZE, "RGBA"), "WEBP", exact=True),
}


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_pillow(name: str) -> None:
    for channels, mode in ((1, "L"), (3, "RGB"), (4, "RGBA")):
        expected = as_pillow(FILES[name], mode)
        np.testing.assert_array_equal(row(FILES[name], (channels, 12, 20)), expected)
        np.testing.assert_array_equal(
            row(FILES[name], (channels, 12, 20), scale="unit"), expected / np.float32(255), strict=True
        )
    np.testing.assert_array_equal(row(FILES[name], (12, 20)), as_pillow(FILES[name], "L")[0])
    assert row(FILES[name], (2, 12, 20)).shape == (2, 12, 20)


def triangle_weights(size: int, new_size: int) -> NDArray[np.float64]:
    """Return the weights of a triangle filter [new size, size], which is wider than a pixel where the image shrinks."""
    scale = size / new_size
    support = max(scale, 1.0)
    centres = (np.arange(new_size) + 0.5) * scale
    distances = (np.arange(size) + 0.5 - centres[:, None]) / support
    weights = np.maximum(0.0, 1.0 - np.abs(distances))
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("size", [(40, 30), (7, 90), (11, 9), (20, 5), (1, 1)])
def test_resized_pixels_are_those_of_pillow_and_of_a_float64_reference(size: tuple[int, int]) -> None:
    payload = encoded(picture(*size))
    result = row(payload, (3, 12, 20), resize="bilinear")
    with Image.open(BytesIO(payload)) as image:
        expected = np.asarray(image.resize((20, 12), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    np.testing.assert_array_equal(result, expected)
    exact = (
        triangle_weights(size[1], 12) @ as_pillow(payload, "RGB").astype(np.float64) @ triangle_weights(size[0], 20).T
    )
    assert np.abs(result - exact).max() <= 1.0  # two passes, each rounded to a whole number
    assert np.abs(result - exact).mean() <= 0.4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_type", ["PNG", "JPEG", "WEBP"])
def test_exif_orientation_is_applied(orientation: int, file_type: str) -> None:
    order = "<>"[orientation % 2]
    payload = encoded(picture(*SIZE), file_type, exif=b"Exif\x00\x00" + exif(orientation, order))
    with Image.open(BytesIO(payload)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    assert (upright.size == SIZE) == (orientation < 5)
    expected = np.asarray(upright).transpose(2, 0, 1)
    np.testing.assert_array_equal(row(payload, expected.shape), expected)


@pytest.mark.parametrize(
    "metadata", [b"", b"II*\x00", exif(9), exif(0), exif(6)[:-8], b"II*\x00\xff\xff\xff\xff", exif(3)[:9]]
)
def test_damaged_orientation_is_ignored(metadata: bytes) -> None:
    payload = with_chunk(FILES["RGB"], b"eXIf", metadata)
    np.testing.assert_array_equal(row(payload, (3, 12, 20)), as_pillow(FILES["RGB"], "RGB"))


def test_transparent_pixels_need_a_model_with_alpha() -> None:
    image = picture(*SIZE, "RGBA")
    image.putpixel((3, 3), (9, 9, 9, 254))
    palette = picture(*SIZE, "P")
    transparent = [
        encoded(image),
        encoded(image, "WEBP", lossless=True),
        encoded(palette, transparency=palette.getpixel((0, 0))),
    ]
    for payload in transparent:
        kind, message = fault(payload)
        assert kind == FailureKind.INVALID_PAYLOAD and "transparent" in message
        assert row(payload, (4, 12, 20))[3].min() < 255
        assert row(payload, (2, 12, 20))[1].min() < 255


def bomb(width: int, height: int) -> bytes:
    """Return a PNG that says that it is large and has few bytes."""
    small = encoded(Image.new("L", (8, 8)))
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + small[24:29]
    return small[:8] + png_chunk(b"IHDR", header) + small[33:]


def test_decompression_bombs_are_refused_by_the_header() -> None:
    for payload, size in (
        (bomb(100_000, 100_000), "100000×100000"),
        (bomb(2**32 - 1, 2**32 - 1), "4294967295×4294967295"),
        (encoded(picture(101, 100), "JPEG"), "101×100"),
        (encoded(picture(101, 100), "WEBP"), "101×100"),
    ):
        kind, message = fault(payload, resize="bilinear")
        assert (kind, message) == (
            FailureKind.TOO_LARGE, f"the image has {size} pixels; input.max_image_pixels is {MAX_PIXELS}"
        )  # fmt: skip
    assert row(encoded(picture(100, 100)), (3, 12, 20), resize="bilinear").shape == (3, 12, 20)


def test_other_sizes_and_models_without_images_are_refused() -> None:
    kind, message = fault(FILES["RGB"], (3, 20, 12))
    assert kind == FailureKind.WRONG_LENGTH and "20×12 pixels; the model takes 12×20" in message
    for shape in ((720,), (5, 12, 20), (1, 3, 12, 20)):
        kind, message = fault(FILES["RGB"], shape)
        assert kind == FailureKind.UNSUPPORTED_CONTENT_TYPE and str(list(shape)) in message


@pytest.mark.parametrize("name", FILES)
def test_every_truncated_file_is_refused(name: str) -> None:
    payload = FILES[name]
    for length in range(len(payload)):
        kind, message = fault(payload[:length])
        assert kind == FailureKind.INVALID_PAYLOAD and "\n" not in message


def test_no_other_plug_in_runs_and_no_global_setting_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("another plug-in runs")

    monkeypatch.setattr(Image, "init", refuse)
    for name in set(Image.OPEN) - {"PNG", "JPEG", "WEBP"}:
        monkeypatch.setitem(Image.OPEN, name, (refuse, refuse))
    for payload in FILES.values():
        row(payload, (3, 12, 20))
    for payload in (b"GIF89a", b"II*\x00", b"%!PS-Adobe", b"BM", b"P6 1 1 255"):
        assert "is not a PNG, JPEG or WebP image" in fault(payload)[1]
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    assert Image.MAX_IMAGE_PIXELS == MAX_IMAGE_PIXELS
