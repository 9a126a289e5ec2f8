"""The parts of a divided chunk are a partition of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.core.record_sizes import record_bytes
from forebay.stream.core.records import Record
from forebay.stream.pipeline.chunk_division import DividedChunk
from tests.core.build import P0, chunk

OFFSETS = st.lists(st.integers(0, 60), min_size=1, max_size=25, unique=True).map(sorted)


@given(st.data(), OFFSETS, st.integers(0, 3))
def test_every_record_is_in_the_part_of_its_version(data: st.DataObject, offsets: list[int], beyond: int) -> None:
    versions = [data.draw(st.integers(1, 3)) for _ in offsets]
    rejected = data.draw(st.sets(st.sampled_from(offsets)))
    good = [offset for offset in offsets if offset not in rejected]
    whole = chunk(offsets, rejected=sorted(rejected))
    whole = replace(
        whole,
        next_offset=whole.next_offset + beyond,
        keys={row: b"%d" % offset for row, offset in enumerate(good) if offset % 3 == 0},
        deadlines={row: offset for row, offset in enumerate(good) if offset % 4 == 0},
        num_bytes=sum(map(record_bytes, [*whole.records, *(rejection.record for rejection in whole.rejections)])),
    )
    divided = DividedChunk(whole, np.array(versions))
    parts = {version: divided.part_of(version) for version in divided.versions()}

    assert parts.keys() == set(versions) and all(part.model == ("m", version) for version, part in parts.items())
    assert sum(part.num_bytes for part in parts.values()) == whole.num_bytes
    for version, part in parts.items():
        own = [offset for offset, chosen in zip(offsets, versions, strict=True) if chosen == version]
        own_good = [offset for offset in own if offset not in rejected]
        assert part.partition == P0 and part.num_records == len(own)
        assert [record.offset for record in divided.records_of(version)] == own
        assert [record.offset for record in part.records] == own_good
        assert list(part.ids) == [f"0-{offset}" for offset in own_good]
        assert part.x_BF[:, 0].tolist() == own_good and part.x_BF.shape == (len(own_good), 1)
        assert list(part.timestamps) == [whole.timestamps[good.index(offset)] for offset in own_good]
        assert [(r.index, r.record.offset) for r in part.rejections] == [
            (index, offset) for index, offset in enumerate(own) if offset in rejected
        ]
        assert part.keys == {row: b"%d" % offset for row, offset in enumerate(own_good) if offset % 3 == 0}
        assert part.deadlines == {row: offset for row, offset in enumerate(own_good) if offset % 4 == 0}
        assert part.next_offset == (whole.next_offset if own[-1] == offsets[-1] else own[-1] + 1)


def test_the_version_with_most_records_is_last() -> None:
    divided = DividedChunk(chunk(range(6)), np.array([1, 1, 3, 1, 2, 2]))
    assert divided.versions() == [3, 2, 1]
    records: list[Record] = divided.records_of(2)
    assert [record.offset for record in records] == [4, 5]
