"""`forebay init --from-topic`: a configuration and a signature, proposed from some events of a topic."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from forebay.schemas.errors import ConfigError, DataError, ModelError
from forebay.stream.cli.interrupts import run_async
from forebay.stream.cli.value_reading import open_value_reader

if TYPE_CHECKING:
    from forebay.models.artefacts.signature import Signature
    from forebay.stream.config.load import LoadedSettings
    from forebay.stream.config.sections import Settings
    from forebay.stream.schema_registry.store import SchemaStore
    from forebay.stream.tables.model_match import FeatureMatch
    from forebay.stream.tables.proposal_check import ReadEvents
    from forebay.stream.tables.topic_proposal import TopicProposal
    from forebay.stream.tables.topic_sample import SampleDocuments, TopicSample

_CARRIED: Final = ("schema_registry.urls", "input.format", "input.avro_schemas", "input.max_event_bytes")
"""Settings that are not in the common file, and that reading the topic needed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is read. events: at most. timeout_s: for reading."""

    events: int
    timeout_s: float


@dataclass(slots=True)
class TopicInspection:
    """What was seen, and what is proposed.

    format: of events that name none, if it was found by their bytes; None if the settings are right.
    model: `name@version` of a registered model; None if there is none. matches: of its features.
    notes: what people should know, as sentences. text: of the configuration file.
    check: what a worker makes of the sample; None without features.
    """

    topic: str
    sample: TopicSample
    documents: SampleDocuments
    proposal: TopicProposal
    format: str | None
    signature: Signature | None
    model: str | None = None
    matches: list[FeatureMatch] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    text: str = ""
    check: ReadEvents | None = None

    @property
    def missing(self) -> list[FeatureMatch]:
        """Required features of the model without a field."""
        return [match for match in self.matches if match.is_missing]


def inspect_topic(loaded: LoadedSettings, topic: str, limits: Limits) -> TopicInspection:
    """Read events of a topic and return what they may mean. Raises BrokerError, DataError, ConfigError and RegistryError."""
    from forebay.stream.tables.topic_proposal import propose

    settings = loaded.settings
    # The client's log repeats the errors that are reported here.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with _progress(topic) as on_progress:
        sample, documents, schemas, guessed = run_async(_read(settings, topic, limits, on_progress))
    _require_documents(sample, documents)
    proposal = propose(documents.documents, sample.keys(), topic=sample.topic)
    if proposal.envelope.name == "cloudevents" and documents.formats.keys() == {"json"} and not guessed:
        guessed = None if _has_ce_headers(sample) else "cloudevents"
    inspection = TopicInspection(topic, sample, documents, proposal, format=guessed, signature=proposal.signature())
    _match_model(inspection, settings)
    inspection.notes += _notes(inspection)
    inspection.text = _text(inspection, loaded)
    if inspection.signature is not None:
        from forebay.stream.tables.proposal_check import read_as_configured

        inspection.check = read_as_configured(
            sample.records, inspection.text, inspection.signature, prefix=settings.topics.prefix, schemas=schemas
        )
    return inspection


@contextlib.contextmanager
def _progress(topic: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar if the standard error is a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from forebay.stream.terminal.console import stderr_console, visible

    console = stderr_console()
    if not console.is_terminal:
        yield lambda done, total: None
        return
    columns = (
        TextColumn(visible(f"reading {topic}"), markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


async def _read(
    settings: Settings, topic: str, limits: Limits, on_progress: Callable[[int, int], None]
) -> tuple[TopicSample, SampleDocuments, SchemaStore | None, str | None]:
    """Return the sample, its documents, the schemas that they name, and the format if it was guessed."""
    from forebay.schemas.topics import topic_name
    from forebay.stream.core.clock import SystemClock
    from forebay.stream.kafka.client import client_options
    from forebay.stream.tables.payload_guess import guess_payloads
    from forebay.stream.tables.topic_sample import read_documents, read_topic_sample

    settings = _for_topic(settings, topic)
    sample = await read_topic_sample(
        client_options(settings.kafka),
        topic_name(settings.topics.prefix, topic),
        limit=limits.events,
        timeout_s=limits.timeout_s,
        max_event_bytes=settings.input.max_event_bytes,
        clock=SystemClock(),
        on_progress=on_progress,
    )
    async with open_value_reader(settings) as reader:
        documents = await read_documents(sample, reader)
    if documents.num_unread <= len(documents.documents):
        return sample, documents, reader.schemas, None
    guess = guess_payloads(documents.unread_values)
    if guess.format is None or settings.input.format != "auto":
        if not documents.documents:
            raise _unreadable(sample, documents, guess.what, guess.remedy)
        return sample, documents, reader.schemas, None
    async with open_value_reader(_for_topic(settings, topic, guess.format)) as reader:
        return sample, await read_documents(sample, reader), reader.schemas, guess.format


def _for_topic(settings: Settings, topic: str, format: str | None = None) -> Settings:
    """Return the settings with this topic as the input, in a format."""
    changes = {"topics": (topic,)} | ({} if format is None else {"format": format})
    return settings.model_copy(update={"input": settings.input.model_copy(update=changes)})


def _unreadable(sample: TopicSample, documents: SampleDocuments, what: str, remedy: str) -> DataError:
    reasons = "; ".join(documents.reasons())
    return DataError(
        f"{sample.topic}: none of {documents.num_unread:,} events can be read: they are {what} ({reasons})",
        kind="unreadable",
        remedy=remedy,
    )


def _require_documents(sample: TopicSample, documents: SampleDocuments) -> None:
    """Raise DataError if there is nothing to look at."""
    if documents.documents:
        return
    if sample.too_large:
        message = f"all {sample.too_large:,} events are larger than input.max_event_bytes, so a worker rejects them"
        remedy = "raise it, if they are right: --set input.max_event_bytes=10485760"
    elif documents.num_unread:
        raise _unreadable(sample, documents, "in no format that could be read", "docs/formats.md lists the formats")
    elif documents.empty:
        message = f"all {documents.empty:,} events are tombstones: records without a value"
        remedy = "read more of them with --limit, or another topic"
    elif sample.ended_by:
        message, remedy = f"no event was read: {sample.ended_by}", "raise --timeout"
    else:
        message = f"its last {sample.num_offsets:,} offsets hold no committed record"
        remedy = "read more of them with --limit, or wait until a producer commits its transaction"
    raise DataError(f"{sample.topic}: {message}", kind="no_events", remedy=remedy)


def _has_ce_headers(sample: TopicSample) -> bool:
    return any(
        name.lower() == "ce_specversion"
        for records in sample.records.values()
        for record in records
        for name, _ in record.headers
    )


def _match_model(inspection: TopicInspection, settings: Settings) -> None:
    """Use the features of the configured model, or of the only one in the repository, if there is one."""
    from forebay.models.artefacts.repository import list_models, read_signature
    from forebay.stream.tables.model_match import list_length, match_features, with_model

    model = settings.models_to_serve()[0].model
    name, version = model.name, model.version
    try:
        if name == "default":
            names = list_models(model.repository)
            if len(names) > 1:
                shown = ", ".join(names[:5])
                inspection.notes.append(
                    f"The repository {model.repository} has {len(names)} models ({shown}); --set model.name=NAME compares one "
                    "with the topic."
                )
            if len(names) != 1:
                return
            (name,) = names
        signature = read_signature(model.repository, name, version)
    except ModelError as error:
        if name != "default":
            inspection.notes.append(f"The model is not compared with the topic: {error.message}.")
        return
    if not signature.features:
        inspection.notes.append(f"The model {name} has features without names, which cannot be compared with fields.")
        return
    inspection.model, inspection.signature = name, signature
    length = list_length(inspection.proposal)
    if length not in (None, len(signature.features)):
        inspection.notes.append(f"The events hold lists of {length} values; the model takes {len(signature.features)}.")
    if inspection.proposal.array is not None:
        return
    inspection.matches = match_features(signature, inspection.proposal)
    inspection.proposal = with_model(inspection.proposal, inspection.matches)


def _notes(inspection: TopicInspection) -> list[str]:
    """Return what people should know about the sample, as sentences."""
    documents, sample, proposal = inspection.documents, inspection.sample, inspection.proposal
    notes = []
    if sample.ended_by:
        notes.append(f"Only {sample.count:,} events were read: {sample.ended_by}.")
    if proposal.sample.count < 10:
        notes.append(f"Only {proposal.sample.count} events were seen: every choice is uncertain.")
    if sample.too_large:
        notes.append(f"{sample.too_large:,} events are larger than input.max_event_bytes, and would be rejected.")
    if documents.empty:
        notes.append(f"{documents.empty:,} records have no value, and would be rejected.")
    if documents.num_unread:
        notes.append(f"{documents.num_unread:,} events could not be read: {'; '.join(documents.reasons())}.")
    if len(documents.formats) > 1:
        shown = ", ".join(f"{count:,} {name}" for name, count in documents.formats.most_common())
        notes.append(f"The topic mixes formats: {shown}. One mapping applies to all of them.")
    if proposal.num_other:
        where = ".".join(proposal.base) or "fields"
        notes.append(f"{proposal.num_other:,} events have no {where}, and would be rejected.")
    if proposal.sample.left_out:
        notes.append(f"{proposal.sample.left_out:,} more fields were not looked at: at most 1,000 are.")
    return notes


def _text(inspection: TopicInspection, loaded: LoadedSettings) -> str:
    """Return the configuration file."""
    from forebay.stream.cli.init_topic_mapping import mapping_text
    from forebay.stream.config.template import template

    return f"{template(_values(inspection, loaded))}\n{mapping_text(inspection)}"


def _values(inspection: TopicInspection, loaded: LoadedSettings) -> dict[str, object]:
    """Return the settings of the file that are not defaults: what was needed to read the topic. Secrets are left out."""
    from forebay.stream.config.load import DEFAULT
    from forebay.stream.config.sections import section_types
    from forebay.stream.config.template import COMMON_KEYS
    from forebay.stream.config.values import is_secret, redacted

    values: dict[str, object] = {}
    common = [f"{section}.{key}" for section, keys in COMMON_KEYS.items() for key in keys]
    for place in (*common, *_CARRIED):
        section, _, key = place.partition(".")
        field, value = section_types()[section].model_fields[key], getattr(getattr(loaded.settings, section), key)
        if loaded.origins.get(place, DEFAULT) == DEFAULT or is_secret(field) or redacted(field, value) != value:
            continue
        values[place] = value
    values["input.topics"] = [inspection.topic]
    if inspection.format is not None:
        values["input.format"] = inspection.format
    if inspection.model is not None:
        values["model.name"] = inspection.model
    return values


def signature_text(inspection: TopicInspection) -> str | None:
    """Return the features as JSON, as registration reads them; None if there are none or a model has its own."""
    signature = inspection.signature
    if signature is None or inspection.model is not None:
        return None
    document = {"features": [feature.to_dict() for feature in signature.features], "shape": list(signature.shape)}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def require_absent(paths: list[Path]) -> None:
    """Raise ConfigError if a file exists, before anything is read."""
    for path in paths:
        if path.exists():
            raise ConfigError(
                f"{path} already exists",
                kind="config_exists",
                remedy="--force overwrites it; -o FILE and --signature FILE write other files",
            )
