"""Events for the models of one worker, on mixed topics and on topics of their own, and the check of what became of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import orjson
from aiokafka import ConsumerRecord

from forebay.schemas import headers as names
from forebay.stream.core.outputs import Headers
from tests.worker.echo import NUM_FEATURES, POISON, feature_hash
from tests.worker.harness import WorkerGroup


class Choice(NamedTuple):
    """How an event chooses a model: by its field, by its header, or by neither and so by its topic."""

    field: str | None = None
    header: str | None = None


class Published(NamedTuple):
    """An event and where it is. model: the one that it is for."""

    topic: str
    partition: int
    offset: int
    key: bytes
    model: str
    features: tuple[float, ...]

    @property
    def is_poisoned(self) -> bool:
        return self.features[0] == POISON


class SeveralModels:
    """Publishes events for several models to a worker group's topics, and checks their outcomes.

    widths: the number of features of each model that does not have NUM_FEATURES.
    of_topic: the model of each input topic.
    """

    def __init__(
        self, worker_group: WorkerGroup, *, of_topic: Mapping[str, str], widths: Mapping[str, int] | None = None
    ) -> None:
        self._group = worker_group
        self._of_topic = of_topic
        self._widths = widths or {}
        self._random = np.random.default_rng(16)
        self._ends: Counter[tuple[str, int]] = Counter()
        self.events: dict[str, Published] = {}

    async def create(self) -> None:
        """Create the topics, also those that windows need."""
        await self._group.create_for_windows(inputs=tuple(self._of_topic))

    async def publish(
        self,
        count: int,
        choices: Sequence[Choice] = (Choice(),),
        *,
        topic: str = "features",
        keys: int = 20,
        poison: bool = False,
    ) -> None:
        """Publish `count` events for each choice, one after the other. The events of a key are for all models in turn."""
        partitions = self._group.partitions
        values: list[list[bytes]] = [[] for _ in range(partitions)]
        record_keys: list[list[bytes]] = [[] for _ in range(partitions)]
        headers: list[list[Headers]] = [[] for _ in range(partitions)]
        for number in range(count * len(choices)):
            choice = choices[number % len(choices)]
            model = choice.field or choice.header or self._of_topic[topic]
            key = number // len(choices) % keys
            place = key % partitions
            features = self._random.normal(size=self._widths.get(model, NUM_FEATURES)).astype(np.float32)
            if poison:
                features[0] = POISON
            event_id = f"{topic}/{place}/{self._ends[topic, place]:06d}"
            event = Published(
                topic,
                place,
                self._ends[topic, place],
                key=b"key-%d" % key,
                model=model,
                features=tuple(features.tolist()),
            )
            self.events[event_id] = event
            self._ends[topic, place] += 1
            document = {"id": event_id, "timestamp": 1_372_636_800_000 + number, "features": event.features}
            values[place].append(orjson.dumps(document if choice.field is None else document | {"model": choice.field}))
            record_keys[place].append(event.key)
            headers[place].append([] if choice.header is None else [(names.MODEL, choice.header.encode())])
        await self._group.send(values, record_keys, topic=topic, headers=headers)

    async def check(self, *, raising: str | None = None) -> None:
        """Check that each event has exactly one outcome, from its own model, and that keys are in order over all models.

        raising: the model in whose dead letters the poisoned events are, if there is one.
        """
        seen: Counter[str] = Counter()
        expected: Counter[tuple[str, str]] = Counter()
        failing = {event_id for event_id, event in self.events.items() if event.is_poisoned and event.model == raising}
        for topic in ("predictions", "dead-letters"):
            order: dict[tuple[str, bytes | None], list[int]] = defaultdict(list)
            for record in await self._group.outputs(topic):
                event_id = self._check_prediction(record) if topic == "predictions" else self._check_letter(record)
                event = self.events[event_id]
                assert (event_id in failing) == (topic == "dead-letters"), (event_id, event)
                seen[event_id] += 1
                expected[event.model, "failed" if event_id in failing else "predicted"] += 1
                order[event.topic, record.key].append(event.offset)
            assert all(offsets == sorted(offsets) for offsets in order.values()), topic
        assert seen.keys() == self.events.keys(), f"lost: {sorted(self.events.keys() - seen.keys())[:5]}"
        assert [event_id for event_id, count in seen.items() if count > 1] == []
        assert await self.counts() == expected

    async def counts(self) -> Counter[tuple[str, str]]:
        """Return the sums of the outcome deltas by model and outcome."""
        sums: Counter[tuple[str, str]] = Counter()
        for record in await self._group.outputs("outcome-deltas"):
            delta = orjson.loads(record.value)
            sums[delta["model"], delta["outcome"]] += delta["count"]
        return sums

    def _check_prediction(self, record: ConsumerRecord) -> str:
        said = orjson.loads(record.value)
        event = self.events[said["id"]]
        source = {"topic": self._group.topic(event.topic), "partition": event.partition, "offset": event.offset}
        assert {name: said["source"][name] for name in source} == source, (said, event)
        assert (record.key, record.partition, said["model"]) == (event.key, event.partition, event.model), said
        row = np.array(event.features, dtype=np.float32)
        assert said["prediction"] == [feature_hash(row, event.model)], (said, event)
        return str(said["id"])

    def _check_letter(self, record: ConsumerRecord) -> str:
        headers = {name: value.decode() for name, value in record.headers}
        event_id = str(orjson.loads(record.value)["id"])
        event = self.events[event_id]
        place = (headers[names.ERROR_TOPIC], int(headers[names.ERROR_PARTITION]), int(headers[names.ERROR_OFFSET]))
        assert place == (self._group.topic(event.topic), event.partition, event.offset)
        assert (headers[names.ERROR_MODEL], headers[names.ERROR_KIND]) == (event.model, "model_error")
        return event_id
