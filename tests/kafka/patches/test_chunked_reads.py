"""Chunked reads return what asyncio's own reader returns."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.kafka.patches.chunked_reads import LARGE_BYTES, read_exactly

ROUNDS = 50
"""The most parts; the rest arrives at once, because sending every byte separately would take too long."""


@given(
    st.sampled_from([0, 4, LARGE_BYTES - 1, LARGE_BYTES, 3 * LARGE_BYTES + 1]),
    st.lists(st.integers(1, 2 * LARGE_BYTES), min_size=1, max_size=6),
)
def test_chunked_reads_return_the_same_bytes_and_leave_the_rest(size: int, parts: list[int]) -> None:
    async def read() -> None:
        sent = bytes(range(251)) * ((size + 100) // 251 + 1)
        reader = asyncio.StreamReader(limit=1 << 16)
        reading = asyncio.create_task(read_exactly(reader, size))
        begin = 0
        for part in parts * ROUNDS:
            reader.feed_data(sent[begin : begin + part])
            begin += part
            await asyncio.sleep(0)  # a delay of 0: the reader runs between two parts
        reader.feed_data(sent[begin:])
        reader.feed_eof()
        assert await reading == sent[:size]
        assert await reader.read() == sent[size:]

    asyncio.run(read())


@pytest.mark.parametrize("size", [10, LARGE_BYTES + 10])
async def test_a_truncated_response_raises_incomplete_read_error(size: int) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(b"x" * 7)
    reader.feed_eof()
    with pytest.raises(asyncio.IncompleteReadError) as caught:
        await read_exactly(reader, size)
    assert caught.value.partial == b"x" * 7 and caught.value.expected == size
