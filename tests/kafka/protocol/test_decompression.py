"""Unpacked records never exceed the limit, with any codec and any data."""

from __future__ import annotations

import contextlib
import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from types import SimpleNamespace

import cramjam
import pytest
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.kafka.protocol import decompression as unpack_module
from forebay.stream.kafka.protocol.decompression import GZIP, LZ4, SNAPPY, ZSTD, NotUnpackable, UnpackedTooLarge, unpack

Encode = Callable[[bytes], bytes]


def raw_snappy(data: bytes) -> bytes:
    return snappy_encode(data, xerial_compatible=False)


def zstd_without_size(data: bytes) -> bytes:
    """Compress as a streaming writer does: the frame does not state its uncompressed size."""
    compressor = cramjam.zstd.Compressor()
    compressor.compress(data)
    return bytes(compressor.finish())


def two_frames(encode: Encode) -> Encode:
    return lambda data: encode(data[: len(data) // 2]) + encode(data[len(data) // 2 :])


CODECS = [
    pytest.param(GZIP, gzip_encode, id="gzip"),
    pytest.param(GZIP, two_frames(gzip_encode), id="gzip-members"),
    pytest.param(SNAPPY, snappy_encode, id="snappy-blocks"),
    pytest.param(SNAPPY, raw_snappy, id="snappy"),
    pytest.param(LZ4, lz4_encode, id="lz4"),
    pytest.param(ZSTD, zstd_encode, id="zstd"),
    pytest.param(ZSTD, zstd_without_size, id="zstd-stream"),
    pytest.param(ZSTD, two_frames(zstd_encode), id="zstd-frames"),
]
SIZES = [1, 100, 1 << 17, 300_000, 3_000_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("codec", "encode"), CODECS)
def test_data_up_to_the_limit_is_unpacked_and_one_byte_more_is_not(codec: int, encode: Encode, size: int) -> None:
    data = (b"abc%d" % size * size)[:size]
    packed = encode(data)
    assert bytes(unpack(codec, packed, size)) == data
    assert bytes(unpack(codec, memoryview(packed), 10 * size)) == data
    with pytest.raises(UnpackedTooLarge):
        unpack(codec, packed, size - 1)


@pytest.mark.parametrize(("codec", "encode"), CODECS)
def test_a_bomb_takes_no_more_memory_than_the_limit(codec: int, encode: Encode) -> None:
    packed = encode(b"\0" * 200_000_000)
    tracemalloc.start()
    with pytest.raises(UnpackedTooLarge):
        unpack(codec, packed, 1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000 + 3 * len(packed)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff" * 40, b"\0" * 3, gzip.compress(b"x" * 99, mtime=0)[:-9], zstd_encode(b"x" * 99)[:-1]],
    ids=["empty", "ones", "zeros", "gzip cut", "zstd cut"],
)
@pytest.mark.parametrize("codec", [GZIP, SNAPPY, LZ4, ZSTD, 5, 7])
def test_invalid_data_raises_not_unpackable(codec: int, data: bytes) -> None:
    if codec == GZIP and not data:
        assert bytes(unpack(codec, data, 10)) == b""  # without a member there is no data, so there are no records
        return
    with pytest.raises(NotUnpackable):
        unpack(codec, data, 1000)


@given(st.sampled_from([case.values for case in CODECS]), st.binary(max_size=2000), st.data())
def test_changed_bytes_raise_one_of_the_two_errors_or_stay_within_the_limit(
    case: tuple[int, Encode], data: bytes, draw: st.DataObject
) -> None:
    codec, encode = case
    packed = bytearray(encode(data * 3))
    for _ in range(draw.draw(st.integers(1, 4))):
        packed[draw.draw(st.integers(0, len(packed) - 1))] = draw.draw(st.integers(0, 255))
    with contextlib.suppress(UnpackedTooLarge, NotUnpackable):
        assert len(unpack(codec, bytes(packed), 10_000)) <= 10_000


def test_the_work_for_gzip_members_is_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte may be 50,000 empty members, and zlib copies what follows each."""
    copied = 0

    class Counting:
        def __init__(self, window_bits: int) -> None:
            self._member = zlib.decompressobj(window_bits)

        def decompress(self, data: bytes, max_length: int) -> bytes:
            nonlocal copied
            part = self._member.decompress(data, max_length)
            copied += len(self._member.unused_data)
            return part

        def __getattr__(self, name: str) -> object:
            return getattr(self._member, name)

    data = gzip.compress(b"") * 20_000 + gzip.compress(b"abc" * 100_000) + bytes(10) + gzip.compress(b"d")
    monkeypatch.setattr(unpack_module, "zlib", SimpleNamespace(decompressobj=Counting, error=zlib.error))
    assert bytes(unpack(GZIP, data, 300_001)) == b"abc" * 100_000 + b"d"
    assert copied < 100 * len(data)
