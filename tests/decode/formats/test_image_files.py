"""The headers of image files: what they say, what is left out, and what is refused."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import pytest
from PIL import Image

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.formats.image_files import MAX_SCANS, read_image_file
from forebay.stream.decode.formats.payload import InvalidPayload
from tests.decode.formats.images import encoded, exif, picture, png_chunk, with_chunk

PNG = encoded(picture(20, 12))
JPEG = encoded(picture(20, 12), "JPEG")
PROGRESSIVE = encoded(picture(20, 12), "JPEG", progressive=True)
WEBP = encoded(picture(20, 12), "WEBP")
LOSSLESS = encoded(picture(20, 12), "WEBP", lossless=True)
BOMB = zlib.compress(bytes(30_000_000))
PROFILE = b"x" * 5000


def refusal(payload: bytes) -> str:
    with pytest.raises(InvalidPayload) as refused:
        read_image_file(payload)
    assert refused.value.kind == FailureKind.INVALID_PAYLOAD
    return refused.value.message


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(struct.pack("<4sI", name, len(data)) + data + b"\x00" * (len(data) % 2) for name, data in chunks)
    return struct.pack("<4sI4s", b"RIFF", 4 + len(body), b"WEBP") + body


@pytest.mark.parametrize("payload", [PNG, JPEG, PROGRESSIVE, WEBP, LOSSLESS])
def test_the_size_is_read_and_plain_files_keep_their_pixels(payload: bytes) -> None:
    file = read_image_file(payload)
    assert (file.width, file.height, file.orientation) == (20, 12, 1)
    with Image.open(BytesIO(payload)) as original, Image.open(BytesIO(file.pixels)) as kept:
        assert file.type == original.format == kept.format
        assert original.tobytes() == kept.tobytes()


@pytest.mark.parametrize(
    "chunk",
    [
        (b"zTXt", b"comment\x00\x00" + BOMB),
        (b"iTXt", b"comment\x00\x01\x00\x00\x00" + BOMB),
        (b"iCCP", b"profile\x00\x00" + BOMB),
        (b"tEXt", b"comment\x00" + bytes(1000)),
        (b"gAMA", b"\x00"),
        (b"prVt", b"private"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
def test_metadata_of_png_does_not_reach_the_decoder(chunk: tuple[bytes, bytes], before: bytes) -> None:
    assert read_image_file(with_chunk(PNG, *chunk, before=before)).pixels == PNG


def test_metadata_of_jpeg_does_not_reach_the_decoder() -> None:
    image = picture(20, 12)
    preview = segment(0xE1, b"Exif\x00\x00" + exif(6) + JPEG)
    profile, multiple, comment = (
        segment(0xE2, b"ICC_PROFILE\x00" + PROFILE),
        segment(0xE2, b"MPF\x00" + PROFILE),
        segment(0xFE, b"hello"),
    )
    payload = JPEG[:2] + preview + profile + multiple + comment + b"\xff" + JPEG[2:] + b"trailing"
    file = read_image_file(payload)
    assert (file.pixels, file.orientation) == (JPEG, 6)
    assert read_image_file(encoded(image, "JPEG", comment=b"x", icc_profile=PROFILE)).pixels == JPEG


def test_metadata_of_webp_does_not_reach_the_decoder() -> None:
    for plain, lossless in ((WEBP, False), (LOSSLESS, True)):
        payload = encoded(picture(20, 12), "WEBP", lossless=lossless, icc_profile=PROFILE, xmp=PROFILE, exif=exif(8))
        file = read_image_file(payload + b"trailing")
        assert (file.pixels, file.orientation) == (plain, 8)


def test_png_files_that_are_refused() -> None:
    frames = [picture(20, 12, seed=seed) for seed in (1, 2)]
    assert "animated" in refusal(encoded(frames[0], save_all=True, append_images=frames[1:]))
    assert "16 bits a channel" in refusal(encoded(Image.new("I;16", (20, 12))))
    assert "checksum of the chunk b'IDAT'" in refusal(PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:])
    assert "checksum of the chunk b'tEXt'" in refusal(with_chunk(PNG, b"tEXt", b"ab").replace(b"tEXtab", b"tEXtac"))
    assert "critical chunk b'ABCD'" in refusal(with_chunk(PNG, b"ABCD", b""))
    assert "IHDR twice" in refusal(with_chunk(PNG, b"IHDR", PNG[16:29]))
    assert "begin with the chunk IHDR" in refusal(PNG[:8] + png_chunk(b"IDAT", b""))
    assert "no chunk IDAT" in refusal(PNG[:33] + png_chunk(b"IEND", b""))
    for field, value in ((8, 3), (9, 5), (10, 1), (11, 1), (12, 2)):
        header = PNG[16:29]
        header = header[:field] + bytes([value]) + header[field + 1 :]
        assert "which does not exist" in refusal(PNG[:8] + png_chunk(b"IHDR", header) + PNG[33:])
    assert "no pixels" in refusal(PNG[:8] + png_chunk(b"IHDR", bytes(4) + PNG[20:29]) + PNG[33:])


def test_jpeg_files_that_are_refused() -> None:
    assert "CMYK" in refusal(encoded(picture(20, 12, "CMYK"), "JPEG"))
    frame = JPEG.index(b"\xff\xc0")
    length = 2 + int.from_bytes(JPEG[frame + 2 : frame + 4], "big")
    for marker in (0xC3, 0xC5, 0xC9, 0xCF):
        assert "lossless, arithmetic or hierarchical" in refusal(JPEG.replace(b"\xff\xc0", bytes([0xFF, marker]), 1))
    assert "12 bits" in refusal(JPEG[: frame + 4] + b"\x0c" + JPEG[frame + 5 :])
    assert "does not state its size" in refusal(JPEG[: frame + 5] + bytes(2) + JPEG[frame + 7 :])
    assert "several frames" in refusal(JPEG[:frame] + JPEG[frame : frame + length] + JPEG[frame:])
    assert "before its frame" in refusal(JPEG[:frame] + JPEG[frame + length :])
    assert "no end marker" in refusal(JPEG[:-2])
    scan = PROGRESSIVE.rindex(b"\xff\xda")
    many = PROGRESSIVE[:scan] + PROGRESSIVE[scan:-2] * MAX_SCANS + PROGRESSIVE[-2:]
    assert f"at most {MAX_SCANS} are decoded" in refusal(many)


def test_webp_files_that_are_refused() -> None:
    frames = [picture(20, 12, seed=seed) for seed in (1, 2)]
    assert "animated" in refusal(encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    pixels = WEBP[20:]
    canvas = bytes(4) + struct.pack("<I", 19)[:3] + struct.pack("<I", 11)[:3]
    assert read_image_file(webp((b"VP8X", canvas), (b"VP8 ", pixels))).pixels == WEBP
    assert "animated" in refusal(webp((b"VP8X", canvas), (b"ANMF", pixels)))
    assert "animated" in refusal(webp((b"VP8X", b"\x02" + canvas[1:]), (b"VP8 ", pixels)))
    assert "sizes in the WebP differ" in refusal(webp((b"VP8X", bytes(10)), (b"VP8 ", pixels)))
    assert "twice" in refusal(webp((b"VP8 ", pixels), (b"VP8 ", pixels)))
    assert "or several" in refusal(webp((b"VP8 ", pixels), (b"VP8L", LOSSLESS[20:])))
    assert "no chunk with pixels" in refusal(webp((b"ALPH", b"")))
    assert "no key frame" in refusal(webp((b"VP8 ", b"\x01" + pixels[1:])))
    assert "no lossless header" in refusal(webp((b"VP8L", b"\x00" + LOSSLESS[21:])))
    assert "no pixels" in refusal(webp((b"VP8 ", pixels[:6] + bytes(4) + pixels[10:])))


def test_what_is_not_an_image_is_refused() -> None:
    assert refusal(b"GIF89a\x01\x00\x01\x00") == (
        "the value is not a PNG, JPEG or WebP image; it begins with 47 49 46 38 39 61 01 00"
    )
    assert refusal(b"").endswith("it begins with nothing")
