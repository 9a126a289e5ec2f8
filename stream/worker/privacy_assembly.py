"""The assembly of what protects personal data in a worker's outputs, from the settings."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from forebay.schemas.errors import ConfigError
from forebay.stream.config.privacy_section import PrivacySection
from forebay.stream.core.clock import Clock
from forebay.stream.core.outputs import OutputTopics
from forebay.stream.output.emitter import EmissionBuilder
from forebay.stream.privacy.detector import Detector
from forebay.stream.privacy.detectors import build_detectors
from forebay.stream.privacy.documents import DocumentProtector
from forebay.stream.privacy.policy import Pseudonyms
from forebay.stream.privacy.protector import Protector
from forebay.stream.worker.private_emissions import PrivateEmissions, read_names

DAY_MS = 86_400_000
MIN_KEY_BYTES = 16


def detectors_of(section: PrivacySection) -> list[Detector]:
    """Return the detectors of the settings. Raises ConfigError if the list of names cannot be read."""
    person_names = []
    if section.names_file is not None:
        person_names = read_names(_read("privacy.names_file", section.names_file))
    return build_detectors(
        section.detectors,
        countries=section.countries,
        person_names=person_names,
        accepts_bare=section.bare_numbers,
    )


def pseudonyms_of(section: PrivacySection) -> Pseudonyms | None:
    """Return what computes hashes; None if no action is `hash`. Raises ConfigError if the key is missing or short."""
    if not section.needs_key():
        return None
    if section.hash_key_file is not None:
        key = _read("privacy.hash_key_file", section.hash_key_file).strip()
    elif section.hash_key is not None:
        key = section.hash_key.get_secret_value().encode()
    else:
        raise ConfigError(
            "an action of [privacy] is hash, and there is no key",
            remedy="set privacy.hash_key_file, or privacy.hash_key by the environment (FOREBAY_PRIVACY__HASH_KEY)",
        )
    if len(key) < MIN_KEY_BYTES:
        raise ConfigError(
            f"the key of hashes in [privacy] has {len(key)} bytes; it needs at least {MIN_KEY_BYTES}",
            remedy="make one with `openssl rand -hex 32`",
        )
    return Pseudonyms(key, period_ms=section.hash_period_days * DAY_MS or None)


def _read(setting: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{setting}: cannot read {path}: {error.strerror}", remedy="correct the path") from error


def private_emissions(
    section: PrivacySection,
    emitter: EmissionBuilder,
    *,
    outputs: OutputTopics,
    used_features: Collection[str],
    clock: Clock,
) -> EmissionBuilder:
    """Return the builder of emissions that protects personal data; the same one if it is not enabled. Raises ConfigError.

    used_features: features of the served models.
    """
    if not section.enabled:
        return emitter
    protector = Protector(detectors_of(section), section.policy(), pseudonyms_of(section))
    documents = None
    if section.dead_letters != "keep":
        used = used_features if section.unused_features == "drop" else None
        documents = DocumentProtector(protector, used_features=used)
    letters = [outputs.dead_letters.name] + ([] if outputs.late_events is None else [outputs.late_events.name])
    unchanged = [outputs.outcome_deltas.name] + ([] if outputs.audit is None else [outputs.audit.name])
    return PrivateEmissions(
        emitter,
        protector,
        documents=documents,
        letters=frozenset(letters),
        unchanged=frozenset(unchanged),
        max_bytes={topic.name: topic.max_bytes for topic in outputs.all()},
        clock=clock,
    )
