"""Settings of privacy: which personal data is found in what a worker writes, and what is done with it."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from forebay.stream.config.json_value import parse_json
from forebay.stream.config.section import Section
from forebay.stream.config.values import Allowed, Mistake, Mistakes, Path, Text
from forebay.stream.privacy.detectors import NAMES
from forebay.stream.privacy.national import COUNTRIES
from forebay.stream.privacy.policy import UNDROPPABLE, Action, Place, Policy

MAX_DAYS: Final = 36_500

ActionName = Literal["detect", "mask", "hash", "drop"]


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",")) if value else ()
    return tuple(value) if isinstance(value, list) else value


def _known(values: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if value not in known:
            raise ValueError(f"{value[:80]!r} is not one of {', '.join(known)}")
    return values


def _check_overrides(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        parse_override(value)
    return values


def parse_override(text: str) -> tuple[tuple[str, Place | None], Action]:
    """Return detector, place and action of `<detector>[.<place>]:<action>`. Raises ValueError."""
    what, colon, action = text.partition(":")
    detector, dot, place = what.partition(".")
    places = tuple(Place)
    if not colon or detector not in NAMES or (dot and place not in places) or action not in tuple(Action):
        raise ValueError(
            f"{text[:80]!r} is not <detector>:<action> or <detector>.<place>:<action>, such as ip:detect or "
            f"email.headers:drop (detectors: {', '.join(NAMES)}; places: {', '.join(places)}; "
            f"actions: {', '.join(Action)})"
        )
    if dot and Place(place) in UNDROPPABLE and action == Action.DROP:
        raise ValueError(f"{text[:80]!r}: {place} cannot be dropped; use mask or hash")
    return (detector, Place(place) if dot else None), Action(action)


def _read_days(value: object) -> dict[str, float]:
    """Check privacy.topic_retention_days. Raises ValueError, or Mistakes with each entry."""
    if isinstance(value, str):
        try:
            value = parse_json(value) if value.strip() else {}
        except ValueError as error:
            raise ValueError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("not a table")
    mistakes = [
        Mistake(f".{str(topic)[:80]}", f"topic {str(topic)[:80]!r}", "must have a number of days above 0")
        for topic, days in value.items()
        if isinstance(days, bool) or not isinstance(days, int | float) or not 0 < days <= MAX_DAYS
    ]
    if mistakes:
        raise Mistakes(mistakes)
    return {str(topic): float(days) for topic, days in value.items()}


_Split = BeforeValidator(_split)
Texts = Annotated[
    tuple[str, ...],
    _Split,
    Allowed("a list of names (separated by commas in the environment)"),
]
Days = Annotated[
    dict[str, float],
    BeforeValidator(_read_days),
    Allowed("a table from topics to days (JSON in the environment)"),
]
Detectors = Annotated[
    tuple[str, ...],
    _Split,
    AfterValidator(lambda values: _known(values, NAMES)),
    Allowed(f"a list of {', '.join(NAMES)} (separated by commas in the environment)"),
]
Countries = Annotated[
    tuple[str, ...],
    _Split,
    AfterValidator(lambda values: _known(values, tuple(COUNTRIES))),
    Allowed(f"a list of {', '.join(COUNTRIES)} (separated by commas in the environment)"),
]
Overrides = Annotated[
    tuple[str, ...],
    _Split,
    AfterValidator(_check_overrides),
    Allowed("a list of <detector>[.<place>]:<action> (separated by commas in the environment)"),
]


class PrivacySection(Section):
    """Personal data: what is found in predictions and dead letters, and what is done with it."""

    enabled: bool = Field(
        default=False,
        description="Find personal data in what workers write, and apply the actions below.",
    )
    detectors: Detectors = Field(default=NAMES, description="What is found.")
    countries: Countries = Field(default=tuple(COUNTRIES), description="Countries whose national ids are found.")
    names_file: Path | None = Field(
        default=None, description="A file with a name of a person on each line, for the detector name."
    )
    bare_numbers: bool = Field(
        default=False,
        description="Also take numbers of cards and national ids without groups and without a word before them (card, bsn). "
        "Finds more, but also takes some of the ids that happen to have a valid check digit.",
    )
    ids: Literal["detect", "mask", "hash"] = Field(default="mask", description="What is done in ids of events.")
    keys: ActionName = Field(default="mask", description="What is done in keys of predictions.")
    headers: ActionName = Field(default="mask", description="What is done in headers of predictions.")
    errors: Literal["detect", "mask", "hash"] = Field(
        default="mask", description="What is done in messages of errors and stack traces."
    )
    dead_letters: Literal["keep", "detect", "mask", "hash", "drop"] = Field(
        default="keep",
        description="What is done in the events that dead letters and late events hold. keep: nothing, so that they can be "
        "replayed; restrict who may read these topics. Events that change cannot be replayed.",
    )
    overrides: Overrides = Field(
        default=(),
        description='Other actions for single detectors, such as ["ip:detect", "email.headers:drop"].',
    )
    hash_key: SecretStr | None = Field(
        default=None, description="The secret key of hashes, of at least 16 characters, the same in all workers."
    )
    hash_key_file: Path | None = Field(default=None, description="The same, as a file.")
    hash_period_days: int = Field(
        default=30,
        ge=0,
        le=3_650,
        description="The same text has the same hash for this long. 0: for ever.",
    )
    unused_features: Literal["keep", "drop"] = Field(
        default="keep",
        description="drop: remove features that no served model uses from the events in dead letters, if dead_letters is not "
        "keep.",
    )

    quasi_identifiers: Texts = Field(
        default=(),
        description="Fields of events that together could identify a person, such as zip and birth_year. "
        "`forebay privacy report` judges the anonymisation of events by them.",
    )
    sensitive_fields: Texts = Field(
        default=(), description="Fields of events that must not become known about a person, for the same judgement."
    )
    subject: Text = Field(
        default="key",
        description="The field that says whom an event is about, for the same judgement. key: the record's key.",
    )
    min_k: int = Field(
        default=5, ge=1, le=1_000_000, description="The report requires this k-anonymity over the quasi-identifiers."
    )
    min_l: int = Field(
        default=2, ge=1, le=1_000_000, description="The report requires this l-diversity of each sensitive field."
    )
    max_retention_days: float | None = Field(
        default=None,
        gt=0,
        le=MAX_DAYS,
        description="The longest time for which topics may keep records. The report compares it with retention.ms.",
    )
    topic_retention_days: Days = Field(
        default_factory=dict,
        description="The same for single topics, without the prefix: <topic> = <days>.",
    )
    accepted_findings: Texts = Field(
        default=(),
        description='Findings in topics, without the prefix, for which the report does not fail: "<topic>" or '
        '"<topic>:<detector>".',
    )
    needed_fields: Texts = Field(
        default=(),
        description="Fields of events that no model uses and that others need, for which the report does not fail.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        letters = [text for text in self.overrides if parse_override(text)[0][1] is Place.DEAD_LETTERS]
        if letters and self.dead_letters == "keep":
            raise ValueError(f"overrides has {letters[0]!r}, but dead_letters is keep; set it to detect to search them")
        return self

    def policy(self) -> Policy:
        """Return the actions by place and detector."""
        letters = Action.DETECT if self.dead_letters == "keep" else Action(self.dead_letters)
        return Policy(
            {
                Place.IDS: Action(self.ids),
                Place.KEYS: Action(self.keys),
                Place.HEADERS: Action(self.headers),
                Place.ERRORS: Action(self.errors),
                Place.DEAD_LETTERS: letters,
            },
            dict(map(parse_override, self.overrides)),
        )

    def needs_key(self) -> bool:
        """Return whether an action is `hash`."""
        policy = self.policy()
        return Action.HASH in (*policy.of_place.values(), *policy.overrides.values())
