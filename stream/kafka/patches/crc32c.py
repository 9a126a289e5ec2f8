"""The checksum of record batches, CRC-32C, by the processor's own instruction where there is one.

The client's is computed byte by byte in C: 0.5 ns a byte, of everything read and everything written.
"""

from __future__ import annotations

from collections.abc import Callable

import google_crc32c
from aiokafka.record.util import calc_crc32c

# On platforms without a compiled wheel that package computes in Python, which is slower than the client by far.
crc32c: Callable[[bytes], int] = google_crc32c.value if google_crc32c.implementation == "c" else calc_crc32c
