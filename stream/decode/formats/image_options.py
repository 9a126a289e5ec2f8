"""How images become rows, as the settings say. Without Pillow, so that workers without images do not need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Resize = Literal["refuse", "bilinear"]
Scale = Literal["unit", "none"]

DEFAULT_MAX_PIXELS: Final = 16_777_216


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """How images become rows.

    max_pixels: larger images are refused by their header.
    resize: what happens to images of another size than the model's.
    scale: unit divides the values by 255; none leaves them from 0 to 255.
    """

    max_pixels: int = DEFAULT_MAX_PIXELS
    resize: Resize = "refuse"
    scale: Scale = "unit"
