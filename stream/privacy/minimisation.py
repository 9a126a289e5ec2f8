"""The judgement about minimisation: fields of events that no served model uses, with their share of the bytes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from typing import Any, Final

import orjson

from forebay.stream.privacy.documents import read_document
from forebay.stream.privacy.judgement import Evidence, Judgement, Verdict
from forebay.stream.privacy.sampled_record import SampledRecord, path_text

NAME: Final = "minimisation"
OWN_FIELDS: Final = ("id", "timestamp", "key", "model", "deadline_ms", "priority")
"""Fields of an event that workers use themselves."""
FEATURE_FIELDS: Final = ("features", "input")
MAX_FIELDS: Final = 200
OTHER_FIELDS: Final = "(other fields)"

FieldPath = tuple[str, ...]


def used_paths(features: Collection[str] | None) -> frozenset[FieldPath]:
    """Return the paths that are used in events with Forebay's own fields.

    features: names of the features of the served models; None if a model takes all features, without names.
    """
    own = [(name,) for name in OWN_FIELDS]
    if features is None:
        return frozenset((*own, *((name,) for name in FEATURE_FIELDS)))
    return frozenset((*own, *((parent, name) for parent in FEATURE_FIELDS for name in features)))


def unused_fields(document: Mapping[str, Any], used: Set[FieldPath]) -> Iterator[tuple[FieldPath, int]]:
    """Yield path and size in bytes of each field that is not used, does not contain a used one, and is in none.

    An array is used if a path within it is: features without names have the order of the model.
    """
    parents = {path[:depth] for path in used for depth in range(1, len(path))}
    yield from _unused(document, (), used, parents)


def _unused(
    fields: Mapping[str, Any], path: FieldPath, used: Set[FieldPath], parents: Set[FieldPath]
) -> Iterator[tuple[FieldPath, int]]:
    for name, value in fields.items():
        place = (*path, name)
        if place in used:
            continue
        if place in parents:
            if isinstance(value, dict):
                yield from _unused(value, place, used, parents)
            continue
        # With quotes, colon and comma.
        yield place, len(name.encode()) + 4 + len(orjson.dumps(value))


class MinimisationSample:
    """Adds up the sizes of fields that no served model uses.

    used: by topic, the paths that are used. Topics that are not in it are not judged.
    needed: names or paths of fields that others need.
    shown: returns a name that may be shown: some names are data.
    """

    def __init__(
        self, used: Mapping[str, Set[FieldPath]], needed: Collection[str], shown: Callable[[str], str] = str
    ) -> None:
        self._used = used
        self._needed = frozenset(needed)
        self._shown = shown
        self._bytes: dict[str, Counter[str]] = {}
        self._records: dict[str, Counter[str]] = {}
        self._total_bytes: Counter[str] = Counter()
        self._num_read: Counter[str] = Counter()
        self._num_unread: Counter[str] = Counter()

    def add(self, topic: str, records: Sequence[SampledRecord]) -> None:
        """Read the records of an input topic that are JSON objects."""
        used = self._used.get(topic)
        if used is None:
            return
        sizes, numbers = self._bytes.setdefault(topic, Counter()), self._records.setdefault(topic, Counter())
        for record in records:
            document = read_document(record.value or b"")
            if (
                not isinstance(document, dict) or "specversion" in document
            ):  # of CloudEvents, whose data is an envelope's
                self._num_unread[topic] += 1
                continue
            self._num_read[topic] += 1
            self._total_bytes[topic] += len(record.value or b"")
            for path, size in unused_fields(document, used):
                name = self._name(path, sizes)
                sizes[name] += size
                numbers[name] += 1

    def _name(self, path: FieldPath, known: Counter[str]) -> str:
        name = path_text([self._shown(part) for part in path])
        return name if name in known or len(known) < MAX_FIELDS else OTHER_FIELDS

    def judge(self) -> Judgement:
        """Return the judgement."""
        evidence: list[Evidence] = []
        unused_bytes = 0
        for topic, sizes in sorted(self._bytes.items()):
            for name, size in sizes.most_common():
                is_needed = name in self._needed or name.rpartition(".")[2] in self._needed
                unused_bytes += 0 if is_needed else size
                evidence.append(
                    {
                        "topic": topic,
                        "field": name,
                        "records": self._records[topic][name],
                        "of_records": self._num_read[topic],
                        "bytes_share": round(size / max(1, self._total_bytes[topic]), 6),
                        "needed_by_others": is_needed,
                    }
                )
        unread = self._num_unread.total()
        also = f"; {unread:,} records that are not JSON objects were not judged" if unread else ""
        if not self._num_read.total():
            return Judgement(NAME, Verdict.NOT_JUDGED, f"the input topics hold no events in JSON{also}")
        names = [str(row["field"]) for row in evidence if not row["needed_by_others"]]
        if not names:
            return Judgement(NAME, Verdict.PASSED, f"all fields of events are used{also}", tuple(evidence))
        share = unused_bytes / max(1, self._total_bytes.total())
        listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        return Judgement(
            NAME,
            Verdict.FAILED,
            f"{share:.1%} of the bytes of events are fields that no served model uses: {listed}{also}",
            tuple(evidence),
            remedies=(
                "leave these fields out where events are published",
                'privacy.unused_features = "drop" removes unused features from the events in dead letters',
                "fields that other consumers need: name them in privacy.needed_fields",
            ),
        )
