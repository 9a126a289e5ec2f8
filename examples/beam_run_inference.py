"""Predict with Apache Beam: a model of a repository as the handler of RunInference.

    pip install forebay apache-beam
    python examples/beam_run_inference.py models damp events.jsonl outcomes

Reads one event a line and writes one outcome a line: the prediction as on the topic, or the kind of failure with its message.
Each worker of Beam loads the model once, with every check that a Forebay worker makes, and predicts whole batches.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

import forebay


class ForebayModel(ModelHandler[bytes, dict[str, Any], Any]):  # type: ignore[misc]  # Beam is not installed here
    """Loads a version, and predicts batches of events. version: a number or an alias; None for the highest."""

    def __init__(self, repository: str, name: str, version: int | str | None = None) -> None:
        super().__init__(min_batch_size=1, max_batch_size=1_000)
        self._reference = (repository, name, version)

    def load_model(self) -> Any:
        """Return the model, in the process that predicts."""
        return forebay.load(*self._reference)

    def run_inference(
        self, batch: Sequence[bytes], model: Any, inference_args: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Return the outcome of each event, in order."""
        return [
            dict(outcome.prediction) or {"id": outcome.id, "error": outcome.kind, "message": outcome.message}
            for outcome in model.predict(batch)
        ]


def main(repository: str, name: str, events: str, outcomes: str, *options: str) -> None:
    with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
        (
            pipeline
            | beam.io.ReadFromText(events)
            | beam.Map(str.encode)
            | RunInference(ForebayModel(repository, name))
            | beam.Map(json.dumps)
            | beam.io.WriteToText(outcomes, file_name_suffix=".jsonl")
        )


if __name__ == "__main__":
    if len(sys.argv) < 5 or sys.argv[1].startswith("-"):
        sys.exit("usage: python examples/beam_run_inference.py REPOSITORY NAME EVENTS OUTCOMES [OPTIONS OF BEAM]")
    main(*sys.argv[1:])
