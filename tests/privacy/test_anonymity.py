"""k-anonymity and l-diversity, against the definitions by brute force."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay.stream.privacy.anonymity import Row, class_sizes, distinct_l, entropy_l, k_anonymity, without_quasi

ROWS = st.lists(
    st.builds(
        Row,
        subject=st.integers(0, 6),
        quasi=st.tuples(st.sampled_from(["a", "b", None]), st.integers(0, 2)),
        sensitive=st.tuples(st.sampled_from(["flu", "none", "cold"])),
    ),
    max_size=30,
)


def by_definition(rows: list[Row]) -> tuple[int, int, float]:
    """Return k, distinct l and entropy l: of each row, look at all rows with the same quasi-identifiers."""
    k, distinct, entropy = math.inf, math.inf, math.inf
    for row in rows:
        same = [other for other in rows if other.quasi == row.quasi]
        k = min(k, len({other.subject for other in same}))
        values = {other.sensitive[0] for other in same}
        distinct = min(distinct, len(values))
        pairs = {(other.subject, other.sensitive[0]) for other in same}
        shares = [sum(value == pair[1] for pair in pairs) / len(pairs) for value in values]
        entropy = min(entropy, math.exp(-sum(share * math.log(share) for share in shares)))
    return (int(k), int(distinct), entropy) if rows else (0, 0, 0.0)


@given(ROWS)
def test_k_and_l_are_those_of_the_definitions(rows: list[Row]) -> None:
    k, distinct, entropy = by_definition(rows)
    assert k_anonymity(rows) == k
    assert distinct_l(rows, 0) == distinct
    assert entropy_l(rows, 0) == pytest.approx(entropy)
    assert entropy_l(rows, 0) <= distinct_l(rows, 0) + 1e-9
    assert k_anonymity(without_quasi(rows, 0)) >= k, "fewer quasi-identifiers hide no less"


def test_the_example_of_machanavajjhala() -> None:
    """Figure 2 of the paper: 4-anonymous inpatient microdata, with a class that has one condition only."""
    conditions = ("heart", "heart", "viral", "viral", "cancer", "heart", "viral", "viral", *("cancer",) * 4)
    rows = [Row(number, (("130**", "<30"), ("1485*", ">=40"), ("130**", "3*"))[number // 4], (condition,))
            for number, condition in enumerate(conditions)]  # fmt: skip
    assert (k_anonymity(rows), distinct_l(rows, 0), entropy_l(rows, 0)) == (4, 1, pytest.approx(1.0))
    # Figure 3: the same people with other classes are 3-diverse.
    diverse = (
        "heart",
        "viral",
        "cancer",
        "cancer",
        "cancer",
        "heart",
        "viral",
        "viral",
        "heart",
        "viral",
        "cancer",
        "cancer",
    )
    rows = [Row(number, (number // 4,), (condition,)) for number, condition in enumerate(diverse)]
    assert distinct_l(rows, 0) == 3
    assert entropy_l(rows, 0) == pytest.approx(2 * math.sqrt(2))


def test_events_of_one_person_hide_nobody() -> None:
    rows = [Row("anna", ("1010",))] * 5
    assert class_sizes(rows) == {("1010",): 1}
    assert k_anonymity(rows) == 1
