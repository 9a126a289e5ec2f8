"""PNG, JPEG and WebP files by their headers: size and orientation, and the parts of the file that hold pixels.

Everything here is read before a pixel is decoded. Only the parts that the pixels need are handed to the decoder: compressed
texts, colour profiles, previews and other metadata, in which decompression bombs hide, never reach it. Damage that a decoder
would ignore is found here: checksums of PNG, files that end early, several frames.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from forebay.stream.decode.formats.payload import invalid_payload

ImageType = Literal["PNG", "JPEG", "WEBP"]

MAX_SCANS: Final = 64
"""A progressive JPEG with more scans is refused: each scan costs a pass over all pixels. Encoders write about ten."""
MAX_PARTS: Final = 100_000
"""More chunks or segments than this are refused."""

_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTHS: Final = {0: (1, 2, 4, 8), 2: (8,), 3: (1, 2, 4, 8), 4: (8,), 6: (8,)}
"""The allowed bits of a channel by the colour type: grey, RGB, palette, grey with alpha, RGB with alpha."""
_JPEG_FRAMES: Final = {0xC0: "baseline", 0xC1: "extended", 0xC2: "progressive"}
_OTHER_JPEG_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC, *_JPEG_FRAMES}
_JPEG_KEPT: Final = frozenset({0xC4, 0xDB, 0xDD, 0xE0, 0xEE, *_JPEG_FRAMES})
"""Tables of Huffman codes and quantisation, the restart interval, the segments JFIF and Adobe, and the frame."""
_EXIF: Final = b"Exif\x00\x00"
_ORIENTATION_TAG: Final = 0x0112
_MAX_TAGS: Final = 1000


@dataclass(frozen=True, slots=True)
class ImageFile:
    """What the header of an image file says.

    orientation: of EXIF, from 1 (upright) to 8.
    pixels: the file without all parts that the pixels do not need.
    """

    type: ImageType
    width: int
    height: int
    orientation: int
    pixels: bytes


def read_image_file(payload: bytes) -> ImageFile:
    """Return the header of an image. Its first bytes say which type it has. Raises InvalidPayload."""
    for starts, read in _READERS:
        if starts(payload):
            return read(payload)
    raise invalid_payload(
        f"the value is not a PNG, JPEG or WebP image; it begins with {payload[:8].hex(' ') or 'nothing'}"
    )


def exif_orientation(exif: bytes) -> int:
    """Return the orientation that EXIF metadata contains, from 1 to 8; 1 if there is none or the metadata is damaged."""
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        return 1
    (start,) = struct.unpack_from(order + "I", exif, 4)
    if start + 2 > len(exif):
        return 1
    (count,) = struct.unpack_from(order + "H", exif, start)
    for index in range(min(count, _MAX_TAGS)):
        at = start + 2 + 12 * index
        if at + 12 > len(exif):
            break
        tag, kind, _, value = struct.unpack_from(order + "HHIH", exif, at)
        if tag == _ORIENTATION_TAG:
            return value if kind == 3 and 1 <= value <= 8 else 1
    return 1


def _read_png(payload: bytes) -> ImageFile:
    parts, orientation = [_PNG_START], 1
    width = height = 0
    has_pixels = is_complete = False
    for name, start, end in _png_chunks(payload):
        if not width:
            if name != b"IHDR" or end - start != 13:
                raise invalid_payload("the PNG does not begin with the chunk IHDR")
            width, height = _png_size(payload[start:end])
        elif name == b"IHDR":
            raise invalid_payload("the PNG has the chunk IHDR twice")
        elif name in (b"acTL", b"fcTL", b"fdAT"):
            raise invalid_payload("the PNG is animated; send one frame")
        elif name == b"eXIf":
            orientation = exif_orientation(payload[start:end])
        if name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            parts.append(payload[start - 8 : end + 4])
            has_pixels |= name == b"IDAT"
        elif not name[0] & 0x20:
            raise invalid_payload(f"the PNG has the critical chunk {name!r}, which is unknown")
        if name == b"IEND":
            is_complete = True
            break
    if not is_complete or not has_pixels:
        raise invalid_payload(f"the PNG has no chunk {'IEND' if not is_complete else 'IDAT'}: it is truncated")
    return ImageFile("PNG", width, height, orientation=orientation, pixels=b"".join(parts))


def _png_chunks(payload: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name of each chunk, and where its data starts and ends."""
    at = len(_PNG_START)
    for _ in range(MAX_PARTS):
        if at + 12 > len(payload):
            return
        length, name = struct.unpack_from(">I4s", payload, at)
        start, end = at + 8, at + 8 + length
        if end + 4 > len(payload):
            raise invalid_payload(f"the PNG ends within the chunk {name!r}: it is truncated")
        if zlib.crc32(memoryview(payload)[at + 4 : end]) != int.from_bytes(payload[end : end + 4], "big"):
            raise invalid_payload(f"the checksum of the chunk {name!r} of the PNG is wrong")
        yield name, start, end
        at = end + 4
    raise invalid_payload(f"the PNG has more than {MAX_PARTS} chunks")


def _png_size(header: bytes) -> tuple[int, int]:
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", header)
    if depth == 16:
        raise invalid_payload("the PNG has 16 bits a channel; convert it to 8")
    if depth not in _PNG_DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        raise invalid_payload(f"the PNG has colour type {colour} with {depth} bits, which does not exist")
    if not width or not height:
        raise invalid_payload("the PNG has no pixels")
    return width, height


def _read_jpeg(payload: bytes) -> ImageFile:
    parts, orientation = [payload[:2]], 1
    size: tuple[int, int] | None = None
    for marker, start, end in _jpeg_segments(payload):
        data = payload[start + 4 : end]
        if marker in _OTHER_JPEG_FRAMES:
            raise invalid_payload(
                "the JPEG is lossless, arithmetic or hierarchical; send a baseline or progressive one"
            )
        if marker in _JPEG_FRAMES:
            if size is not None:
                raise invalid_payload("the JPEG has several frames")
            size = _jpeg_size(data)
        elif marker == 0xE1 and data.startswith(_EXIF):
            orientation = exif_orientation(data[len(_EXIF) :])
        if marker in _JPEG_KEPT:
            parts.append(payload[start:end])
        if marker == 0xDA:
            if size is None:
                raise invalid_payload("the JPEG has a scan before its frame")
            parts.append(_jpeg_scans(payload, start))
            return ImageFile("JPEG", *size, orientation=orientation, pixels=b"".join(parts))
    raise invalid_payload("the JPEG has no scan: it is truncated")


def _jpeg_segments(payload: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the marker of each segment, and where the segment starts and ends, up to the first scan."""
    at = 2
    for _ in range(MAX_PARTS):
        if at + 4 > len(payload):
            return
        if payload[at] != 0xFF:
            raise invalid_payload(f"the JPEG has no marker at byte {at}")
        marker = payload[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        length = int.from_bytes(payload[at + 2 : at + 4], "big")
        end = at + 2 + length
        if marker < 0xC0 or 0xD0 <= marker <= 0xD9 or length < 2:
            raise invalid_payload(f"the JPEG has the marker {marker:#04x} at byte {at}, where a segment is expected")
        if end > len(payload):
            raise invalid_payload("the JPEG ends within a segment: it is truncated")
        yield marker, at, end
        at = end
    raise invalid_payload(f"the JPEG has more than {MAX_PARTS} segments")


def _jpeg_size(frame: bytes) -> tuple[int, int]:
    if len(frame) < 6:
        raise invalid_payload("the frame of the JPEG is truncated")
    bits, height, width, channels = struct.unpack_from(">BHHB", frame)
    if bits != 8:
        raise invalid_payload(f"the JPEG has {bits} bits a channel; convert it to 8")
    if channels not in (1, 3):
        colours = "CMYK, whose colours depend on a profile" if channels == 4 else f"{channels} channels"
        raise invalid_payload(f"the JPEG is {colours}; convert it to RGB or grey")
    if not width or not height:
        raise invalid_payload("the JPEG does not state its size")
    return width, height


def _jpeg_scans(payload: bytes, start: int) -> bytes:
    # Within a scan, 0xFF is followed by 0x00 or a restart marker, so these bytes are markers.
    scans = payload.count(b"\xff\xda", start)
    if scans > MAX_SCANS:
        raise invalid_payload(f"the JPEG has {scans} scans; at most {MAX_SCANS} are decoded")
    end = payload.find(b"\xff\xd9", start)
    if end < 0:
        raise invalid_payload("the JPEG has no end marker: it is truncated")
    return payload[start : payload.rfind(b"\xff\xd9") + 2]


def _read_webp(payload: bytes) -> ImageFile:
    parts: dict[bytes, bytes] = {}
    canvas: tuple[int, int] | None = None
    orientation = 1
    for name, data in _webp_chunks(payload):
        if name in (b"ANIM", b"ANMF"):
            raise invalid_payload("the WebP is animated; send one frame")
        if name in parts:
            raise invalid_payload(f"the WebP has the chunk {name!r} twice")
        if name == b"VP8X" and not parts:
            if len(data) != 10:
                raise invalid_payload("the chunk VP8X of the WebP has a wrong length")
            if data[0] & 0x02:
                raise invalid_payload("the WebP is animated; send one frame")
            canvas = 1 + int.from_bytes(data[4:7], "little"), 1 + int.from_bytes(data[7:10], "little")
        elif name == b"EXIF":
            orientation = exif_orientation(data.removeprefix(_EXIF))
        parts[name] = data if name in (b"VP8X", b"ALPH", b"VP8 ", b"VP8L") else b""
    bitstream = parts.get(b"VP8L", parts.get(b"VP8 "))
    if bitstream is None or (b"VP8L" in parts and b"VP8 " in parts):
        raise invalid_payload("the WebP has no chunk with pixels, or several")
    width, height = _vp8l_size(bitstream) if b"VP8L" in parts else _vp8_size(bitstream)
    if canvas is not None and canvas != (width, height):
        raise invalid_payload("the sizes in the WebP differ")
    return ImageFile("WEBP", width, height, orientation=orientation, pixels=_plain_webp(parts, width, height))


def _webp_chunks(payload: bytes) -> Iterator[tuple[bytes, bytes]]:
    size = 8 + int.from_bytes(payload[4:8], "little")
    if size > len(payload):
        raise invalid_payload("the WebP is shorter than its header says: it is truncated")
    at = 12
    for _ in range(MAX_PARTS):
        if at + 8 > size:
            return
        name, length = struct.unpack_from("<4sI", payload, at)
        if at + 8 + length > size:
            raise invalid_payload(f"the WebP ends within the chunk {name!r}: it is truncated")
        yield name, payload[at + 8 : at + 8 + length]
        at += 8 + length + (length & 1)
    raise invalid_payload(f"the WebP has more than {MAX_PARTS} chunks")


def _vp8_size(data: bytes) -> tuple[int, int]:
    if len(data) < 10 or data[0] & 1 or data[3:6] != b"\x9d\x01\x2a":
        raise invalid_payload("the WebP has no key frame")
    width, height = struct.unpack_from("<HH", data, 6)
    return _checked(width & 0x3FFF, height & 0x3FFF)


def _vp8l_size(data: bytes) -> tuple[int, int]:
    if len(data) < 5 or data[0] != 0x2F:
        raise invalid_payload("the WebP has no lossless header")
    bits = int.from_bytes(data[1:5], "little")
    return _checked(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))


def _checked(width: int, height: int) -> tuple[int, int]:
    if not width or not height:
        raise invalid_payload("the WebP has no pixels")
    return width, height


def _plain_webp(parts: dict[bytes, bytes], width: int, height: int) -> bytes:
    """Return a file with the pixels only, and with alpha if it has any."""
    chunks: list[tuple[bytes, bytes]] = []
    if b"VP8L" in parts:
        chunks.append((b"VP8L", parts[b"VP8L"]))
    else:
        if b"ALPH" in parts:
            sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
            chunks += [(b"VP8X", b"\x10\x00\x00\x00" + sizes), (b"ALPH", parts[b"ALPH"])]
        chunks.append((b"VP8 ", parts[b"VP8 "]))
    body = b"".join(struct.pack("<4sI", name, len(data)) + data + b"\x00" * (len(data) & 1) for name, data in chunks)
    return struct.pack("<4sI4s", b"RIFF", 4 + len(body), b"WEBP") + body


_READERS: Final[tuple[tuple[Callable[[bytes], bool], Callable[[bytes], ImageFile]], ...]] = (
    (lambda payload: payload.startswith(_PNG_START), _read_png),
    (lambda payload: payload.startswith(b"\xff\xd8"), _read_jpeg),
    (lambda payload: payload[:4] == b"RIFF" and payload[8:12] == b"WEBP", _read_webp),
)
