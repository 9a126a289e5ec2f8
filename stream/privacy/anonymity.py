"""The level of anonymisation of rows: k-anonymity and l-diversity over quasi-identifiers. Pure.

Sources: L. Sweeney, k-anonymity: a model for protecting privacy (2002); A. Machanavajjhala et al., l-diversity: privacy beyond
k-anonymity (2007), whose distinct and entropy l-diversity these are.

Both are defined over tables with one row for each person. A stream has many events of one person, so persons are counted rather
than rows: five events of one person are one person.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """An event as it is judged.

    subject: the person whom it is about.
    quasi: values of the quasi-identifiers, which together may identify a person: None where one is missing.
    sensitive: values of the sensitive fields, which must not become known about a person.
    """

    subject: Hashable
    quasi: tuple[Hashable, ...]
    sensitive: tuple[Hashable, ...] = ()


def class_sizes(rows: Sequence[Row]) -> dict[tuple[Hashable, ...], int]:
    """Return the number of persons in each equivalence class: those whose quasi-identifiers have the same values."""
    subjects: defaultdict[tuple[Hashable, ...], set[Hashable]] = defaultdict(set)
    for row in rows:
        subjects[row.quasi].add(row.subject)
    return {quasi: len(of_class) for quasi, of_class in subjects.items()}


def k_anonymity(rows: Sequence[Row]) -> int:
    """Return k: each person is one of at least k with the same quasi-identifiers. 0 without rows."""
    return min(class_sizes(rows).values(), default=0)


def distinct_l(rows: Sequence[Row], field: int) -> int:
    """Return the least number of different values of a sensitive field in a class. 0 without rows."""
    values: defaultdict[tuple[Hashable, ...], set[Hashable]] = defaultdict(set)
    for row in rows:
        values[row.quasi].add(row.sensitive[field])
    return min(map(len, values.values()), default=0)


def entropy_l(rows: Sequence[Row], field: int) -> float:
    """Return the least exp(entropy) of a sensitive field in a class: at most `distinct_l`, and less if some values dominate.

    A value counts once for each person who has it. 0 without rows.
    """
    pairs: defaultdict[tuple[Hashable, ...], set[tuple[Hashable, Hashable]]] = defaultdict(set)
    for row in rows:
        pairs[row.quasi].add((row.subject, row.sensitive[field]))
    return min((_exp_entropy(Counter(value for _, value in of_class)) for of_class in pairs.values()), default=0.0)


def _exp_entropy(counts: Counter[Hashable]) -> float:
    total = counts.total()
    return math.exp(-sum(count / total * math.log(count / total) for count in counts.values()))


def without_quasi(rows: Sequence[Row], field: int) -> list[Row]:
    """Return the rows as if one of the quasi-identifiers did not exist."""
    return [row._replace(quasi=row.quasi[:field] + row.quasi[field + 1 :]) for row in rows]
