"""CPU time of an image from its bytes to the row of a model, beside Pillow alone.

python -m benchmarks.images
"""

from __future__ import annotations

import time
from collections.abc import Callable
from io import BytesIO
from typing import Final, NamedTuple

import numpy as np
from PIL import Image

from forebay.stream.decode.formats.image import ImageFeatures, ImageFormat
from forebay.stream.decode.formats.image_options import ImageOptions

ROUND_S: Final = 0.2
ROUNDS: Final = 7


class Case(NamedTuple):
    """An image, and the shape that a model takes."""

    file_type: str
    width: int
    height: int
    shape: tuple[int, int, int]


CASES: Final = (
    Case("PNG", 28, 28, (1, 28, 28)),
    Case("PNG", 32, 32, (3, 32, 32)),
    Case("JPEG", 224, 224, (3, 224, 224)),
    Case("WEBP", 224, 224, (3, 224, 224)),
    Case("PNG", 224, 224, (3, 224, 224)),
    Case("JPEG", 640, 480, (3, 224, 224)),
)


def make_image(case: Case) -> bytes:
    """Return a file with smooth colours and some noise."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[: case.height, : case.width]
    bands = [127 + 80 * np.sin(x / 9 + band) + 40 * np.cos(y / 7 - band) for band in range(case.shape[0])]
    pixels = np.clip(np.stack(bands, axis=-1) + rng.normal(0, 4, (case.height, case.width, case.shape[0])), 0, 255)
    buffer = BytesIO()
    Image.fromarray(pixels.astype(np.uint8).squeeze()).save(buffer, case.file_type)
    return buffer.getvalue()


def cpu_us(call: Callable[[], object]) -> float:
    """Return the CPU time of a call in µs: the best round."""
    best = float("inf")
    for _ in range(ROUNDS):
        count, began = 0, time.process_time()
        while time.process_time() - began < ROUND_S:
            call()
            count += 1
        best = min(best, (time.process_time() - began) / count)
    return 1e6 * best


def main() -> None:
    """Print a line for each case."""
    image_format = ImageFormat(ImageOptions(resize="bilinear"))
    for case in CASES:
        payload = make_image(case)
        size = case.shape[2], case.shape[1]

        def row(payload: bytes = payload, case: Case = case) -> object:
            features = image_format.document(payload)["features"]
            assert isinstance(features, ImageFeatures)
            return features.row(case.shape)

        def pillow(payload: bytes = payload, size: tuple[int, int] = size) -> object:
            with Image.open(BytesIO(payload)) as image:
                return np.asarray(image.resize(size, Image.Resampling.BILINEAR)).astype(np.float32) / np.float32(255)

        ours, alone = cpu_us(row), cpu_us(pillow)
        name = f"{case.file_type} {case.width}×{case.height} → {'×'.join(map(str, case.shape))}"
        print(
            f"{name:<32} {len(payload):>8,} bytes {ours:>8,.0f} µs ({1e6 / ours:>7,.0f}/s), Pillow alone {alone:>8,.0f} µs"
        )


if __name__ == "__main__":
    main()
