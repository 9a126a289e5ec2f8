"""Arrow files (the random access format): their footer is checked, and their rows are streams."""

from __future__ import annotations

import struct

import pyarrow as pa
import pyarrow.ipc as ipc
import pytest

from forebay.schemas.failures import FailureKind
from forebay.stream.decode.formats.arrow import ArrowFormat
from forebay.stream.decode.formats.payload import InvalidPayload
from tests.core.build import FakeRecord
from tests.decode.formats.test_arrow import payload, refusal, rows_of


def small_file() -> bytes:
    batch = pa.record_batch({"x": [1.5, 2.5], "airport": pa.array(["a", "b"]).dictionary_encode()})
    return payload(batch, batch, file=True)


def test_a_file_with_a_damaged_footer_is_refused() -> None:
    whole = small_file()
    assert ArrowFormat().batch(whole)[1].num_rows == 4
    for length in range(8, len(whole)):
        refused = refusal(whole[:length])
        assert refused.kind is FailureKind.INVALID_PAYLOAD
        assert refused.message == "not an Arrow IPC file: it does not end with ARROW1; it may be truncated"
    length_at = len(whole) - 10
    footer_bytes = struct.unpack_from("<i", whole, length_at)[0]
    for length in (-1, 0, footer_bytes - 8, footer_bytes + 8, len(whole), 2**31 - 1):
        assert "footer is damaged" in refusal(whole[:length_at] + struct.pack("<i", length) + b"ARROW1").message
    footer_at = length_at - footer_bytes
    assert "cannot be read" in refusal(whole[:footer_at] + b"\xff" * footer_bytes + whole[length_at:]).message
    # The footer of another file, which has one batch and no dictionary.
    other = payload(pa.record_batch({"x": [1.5]}), file=True)
    other_footer = other[-10 - struct.unpack_from("<i", other, len(other) - 10)[0] :]
    assert refusal(whole[:footer_at] + other_footer).message == (
        "not an Arrow IPC file: its footer is damaged: it does not list the 3 batches and dictionaries that precede it"
    )


def test_a_file_without_the_mark_of_its_end_of_stream_is_read() -> None:
    whole = small_file()
    mark = whole.rindex(b"\xff\xff\xff\xff\x00\x00\x00\x00")
    assert ArrowFormat().batch(whole[:mark] + whole[mark + 8 :])[1].num_rows == 4


def test_every_mutation_of_a_footer_is_read_as_the_rows_before_it_or_refused() -> None:
    whole = small_file()
    rows = ArrowFormat().batch(whole)[1].to_pylist()
    num_refused = 0
    for place in range(len(whole) - 10 - struct.unpack_from("<i", whole, len(whole) - 10)[0], len(whole)):
        for bit in (0, 3, 7):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            try:
                assert ArrowFormat().batch(bytes(damaged))[1].to_pylist() == rows
            except InvalidPayload as refused:
                assert "Arrow IPC" in refused.message
                num_refused += 1
    assert num_refused > 100


@pytest.mark.parametrize(
    "content_type", [b"application/vnd.apache.arrow.file", b"Application/vnd.apache.arrow.FILE; a=b"]
)
def test_the_rows_of_a_file_are_streams_and_say_so(content_type: bytes) -> None:
    headers = (("trace", b"1"), ("Content-Type", content_type))
    (read,), _ = ArrowFormat().read([FakeRecord(0, small_file(), headers=headers)], "features-0")
    row = read.rows[3]
    assert list(row.headers) == [("trace", b"1"), ("Content-Type", b"application/vnd.apache.arrow.stream")]
    assert rows_of(row.value).rows[0].source.document_of(0) == {"x": 2.5, "airport": "b"}
    assert ipc.open_stream(row.value).read_all().num_rows == 1
