"""Missing numbers are kept as ranges."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.audit.chain import Place
from forebay.stream.audit.missing import MissingNumbers, MissingRange

HERE, LATER = Place(0, 7), Place(0, 9)


def test_numbers_split_the_ranges_that_they_are_removed_from() -> None:
    missing = MissingNumbers()
    missing.append(0, 10**18, HERE)
    assert missing.remove(5) and missing.remove(0) and missing.remove(10**18)
    assert not missing.remove(5) and not missing.remove(-1) and not missing.remove(10**19)
    assert list(missing) == [MissingRange(1, 4, HERE), MissingRange(6, 10**18 - 1, HERE)]


def test_an_empty_range_is_not_kept() -> None:
    missing = MissingNumbers()
    missing.append(0, -1, HERE)
    assert list(missing) == []


@given(
    gaps=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 6)), max_size=6),
    removed=st.lists(st.integers(0, 60), max_size=40),
)
def test_ranges_have_the_numbers_of_a_set(gaps: list[tuple[int, int]], removed: list[int]) -> None:
    missing, reference, number = MissingNumbers(), set[int](), 0
    for present, absent in gaps:
        missing.append(number + present, number + present + absent - 1, LATER)
        reference |= set(range(number + present, number + present + absent))
        number += present + absent
    for one in removed:
        assert missing.remove(one) == (one in reference)
        reference.discard(one)
    left = [number for found in missing for number in range(found.first, found.last + 1)]
    assert left == sorted(reference)
