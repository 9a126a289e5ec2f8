"""A probe for a Kafka broker on a port, which sends the first request of a Kafka client."""

from __future__ import annotations

import asyncio
import struct

_API_VERSIONS = 18
_CORRELATION = 7
_MAX_ANSWER_BYTES = 1 << 20


async def answers_kafka(host: str, port: int, *, timeout_s: float) -> bool:
    """Return whether an ApiVersions request on a new connection succeeds within `timeout_s` seconds.

    A server that only accepts the connection or speaks another protocol does not count. Never raises network errors.
    """
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                return await _api_versions(reader, writer)
            finally:
                writer.close()
                await writer.wait_closed()
    except (OSError, EOFError, TimeoutError):
        return False


async def _api_versions(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    client_id = b"forebay-probe"
    request = struct.pack(">hhih", _API_VERSIONS, 0, _CORRELATION, len(client_id)) + client_id
    writer.write(struct.pack(">i", len(request)) + request)
    await writer.drain()
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    if not 10 <= size <= _MAX_ANSWER_BYTES:
        return False
    correlation, error, num_apis = struct.unpack_from(">ihi", await reader.readexactly(size))
    return bool(correlation == _CORRELATION and error == 0 and num_apis > 0)
