"""Process events with Quix Streams, one record a call, as its users write it, with ONNX Runtime.

It runs in an environment of its own (`benchmarks/rivals/quix`). A checkpoint every 100 ms or 10,000 records flushes the
predictions and commits, with `exactly_once` in a transaction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from quixstreams import Application, message_context
from quixstreams.checkpointing import Checkpoint

from benchmarks.contestants.job import (
    FETCH_MAX_BYTES,
    FETCH_MAX_WAIT_MS,
    FETCH_MIN_BYTES,
    MAX_BATCH_BYTES,
    MAX_PARTITION_FETCH_BYTES,
    PIPELINED_COMMIT_RECORDS,
    PIPELINED_COMMIT_S,
    Job,
    Stopwatch,
)


class Predictor:
    """Turn one event into its prediction."""

    def __init__(self, job: Job, watch: Stopwatch) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(job.onnx, options, providers=["CPUExecutionProvider"])
        self._job = job
        self._watch = watch

    def __call__(self, event: dict[str, Any]) -> dict[str, Any]:
        self._watch.first()
        row = np.array([event["features"]], dtype=np.float32)
        logits = self._session.run(None, {"rows": row})[0][0]
        powers = np.exp(logits - logits.max())
        scores = (powers / powers.sum()).astype(np.float64).round(8).tolist()
        chosen = scores.index(max(scores))
        context = message_context()
        return {
            "id": event["id"],
            "model": self._job.model,
            "version": self._job.model_version,
            "prediction": scores,
            "confidence": scores[chosen],
            "class": chosen,
            "label": None,
            "source": {
                "topic": context.topic,
                "partition": context.partition,
                "offset": context.offset,
                "timestamp": event["timestamp"],
            },
        }


def make_application(job: Job, count: Any) -> Application:
    """Return the application. count: called after each processed record."""
    return Application(
        broker_address=job.bootstrap_servers,
        consumer_group=job.group_id,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once" if job.processing_guarantee == "exactly_once" else "at-least-once",
        commit_interval=PIPELINED_COMMIT_S,
        commit_every=PIPELINED_COMMIT_RECORDS,
        on_message_processed=count,
        auto_create_topics=False,
        use_changelog_topics=False,
        state_dir=job.folder,
        loglevel="WARNING",
        consumer_extra_config={
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": FETCH_MAX_WAIT_MS,
            "fetch.min.bytes": FETCH_MIN_BYTES,
            "fetch.max.bytes": FETCH_MAX_BYTES,
            "max.partition.fetch.bytes": MAX_PARTITION_FETCH_BYTES,
            "fetch.queue.backoff.ms": 10,
        },
        producer_extra_config={
            "acks": "all",
            "compression.type": "none",
            "linger.ms": 5,
            "batch.size": MAX_BATCH_BYTES,
        },
    )


def main() -> None:
    job = Job.from_command_line()
    watch = Stopwatch(job.events)
    processed = 0

    def count(_topic: str, _partition: int, _offset: int) -> None:
        nonlocal processed
        processed += 1

    application = make_application(job, count)
    commit = Checkpoint.commit

    def watched_commit(self: Any, **options: Any) -> None:
        nonlocal processed
        commit(self, **options)
        if watch.committed(processed):
            application.stop()
        processed = 0

    Checkpoint.commit = watched_commit
    events = application.dataframe(application.topic(job.features, value_deserializer="json"))
    predictions = events.apply(Predictor(job, watch))
    predictions.to_topic(application.topic(job.predictions, value_serializer="json"))
    application.run()
    watch.print_result()


if __name__ == "__main__":
    main()
