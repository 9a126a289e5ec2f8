"""Images as events: PNG, JPEG and WebP files, decoded to the shape that a model takes.

The header decides before anything is decoded (`image_files`), and Pillow decodes nothing but the pixels of these three types.
What a row becomes is what training with Pillow or torchvision sees: channels by `Image.convert`, sizes by `Image.resize`,
values from 0 to 1 by division by 255, in the order channels, rows, columns.

Shapes: C channels, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.formats.image_files import ImageFile, read_image_file
from forebay.stream.decode.formats.image_options import ImageOptions
from forebay.stream.decode.formats.payload import (
    NO_ROLES,
    FieldRoles,
    InvalidPayload,
    ParsedColumns,
    Path,
    ShapedFeatures,
    invalid_payload,
)
from forebay.stream.decode.formats.png_pixels import check_pixel_data

MAX_IMAGE_PIXELS: Final = 89_478_485
"""The largest allowed value of input.max_image_pixels: from here on Pillow warns of a decompression bomb."""

# Imported here, and not when the first image is opened.
Image.preinit()
# Registered here: Pillow imports all of its plug-ins if it does not know the type that it is asked for.
_PLUGINS: Final = (PngImagePlugin, JpegImagePlugin, WebPImagePlugin)
_MODES: Final = MappingProxyType({1: "L", 2: "LA", 3: "RGB", 4: "RGBA"})
"""Pillow's mode for each number of channels of a model."""
_TRANSPOSITIONS: Final = MappingProxyType(
    {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
)
"""What makes an image upright, for each orientation of EXIF."""


@dataclass(frozen=True, slots=True)
class ImageFeatures(ShapedFeatures):
    """The features of an event that is an image. Its pixels are decoded when a model's shape is known."""

    file: ImageFile
    options: ImageOptions

    def summary(self) -> dict[str, object]:
        """Return the type and the size of the image, before its orientation is applied."""
        file = self.file
        return {"image": file.type, "width": file.width, "height": file.height, "orientation": file.orientation}

    def row(self, shape: tuple[int, ...]) -> bytes:
        """Return the pixels as little-endian float32 in the order of the shape, [C, H, W] or [H, W]. Raises InvalidPayload."""
        channels, height, width = shape if len(shape) == 3 else (1, *shape) if len(shape) == 2 else (0, 0, 0)
        if channels not in _MODES:
            raise InvalidPayload(
                FailureKind.UNSUPPORTED_CONTENT_TYPE,
                f"the model takes rows of the shape {list(shape)}, not images: [channels, height, width] with 1 to 4 channels",
            )
        try:
            pixels = self._pixels(_MODES[channels], (width, height))
        except InvalidPayload:
            raise
        except Exception as error:  # Pillow raises many kinds
            raise invalid_payload(f"the {self.file.type} cannot be decoded: {_one_line(error)}") from None
        x_CHW = pixels.reshape(height, width, channels).transpose(2, 0, 1).astype("<f4")
        if self.options.scale == "unit":
            x_CHW /= np.float32(255)
        return x_CHW.tobytes()

    def _pixels(self, mode: str, size: tuple[int, int]) -> NDArray[np.uint8]:
        file = self.file
        own_size = (file.height, file.width) if file.orientation >= 5 else (file.width, file.height)
        if own_size != size and self.options.resize == "refuse":
            raise InvalidPayload(
                FailureKind.WRONG_LENGTH,
                f"the image has {own_size[0]}×{own_size[1]} pixels; the model takes {size[0]}×{size[1]} "
                "(input.image_resize is refuse)",
            )
        if file.type == "PNG":
            check_pixel_data(file.pixels)
        with Image.open(BytesIO(file.pixels), formats=(file.type,)) as opened:
            if opened.size != (file.width, file.height):
                raise invalid_payload("the size in the header is not that of the pixels")
            image = _in_mode(opened, mode)
        if file.orientation != 1:
            image = image.transpose(_TRANSPOSITIONS[file.orientation])
        if image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        return np.asarray(image)


class ImageFormat:
    """Images of all types. A document has the field `features`: an ImageFeatures."""

    def __init__(self, options: ImageOptions) -> None:
        self._options = options

    @property
    def name(self) -> str:
        return "image"

    @property
    def has_schema(self) -> bool:
        return False

    @property
    def roles(self) -> FieldRoles:
        return NO_ROLES

    def document(self, payload: bytes) -> dict[str, object]:
        """Return the image as the only field. The header is read, the pixels are not. Raises only InvalidPayload."""
        file = read_image_file(payload)
        if file.width * file.height > self._options.max_pixels:
            raise InvalidPayload(
                FailureKind.TOO_LARGE,
                f"the image has {file.width}×{file.height} pixels; input.max_image_pixels is {self._options.max_pixels}",
            )
        return {"features": ImageFeatures(file, self._options)}

    def columns(self, values: Sequence[bytes], paths: Sequence[Path], *, start: int) -> ParsedColumns | None:
        """Return None: decoding takes much longer than what columns would save."""
        return None


def _in_mode(opened: Image.Image, mode: str) -> Image.Image:
    """Return an image in the mode of a model's channels. Raises InvalidPayload if that would lose transparency."""
    has_alpha = opened.has_transparency_data
    if not has_alpha:
        return opened.convert(mode)
    image = opened.convert("RGBA" if opened.mode in ("P", "RGB", "RGBA") else "LA")
    if mode in ("LA", "RGBA"):
        return image.convert(mode)
    if image.getchannel("A").getextrema()[0] != 255:
        raise invalid_payload(
            "the image has transparent pixels and the model takes no alpha channel; flatten it before sending"
        )
    return image.convert(mode)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
