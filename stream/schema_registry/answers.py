"""Parse the answers of a schema registry. Pure; accepts any JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, cast

from forebay.stream.schema_registry.encrypt_rules import EncryptRule, read_encrypt_rule
from forebay.stream.schema_registry.errors import SchemaInvalid
from forebay.stream.schema_registry.schema import SchemaType

SCHEMA_TYPES: Final[tuple[SchemaType, ...]] = ("AVRO", "PROTOBUF", "JSON")
MAX_DIRECT_REFERENCES: Final = 1_000
_DOMAIN_RULES: Final = "domainRules"
_RULE_LISTS: Final = ("migrationRules", _DOMAIN_RULES, "encodingRules")


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference within a schema to a version of a subject."""

    name: str
    subject: str
    version: int


@dataclass(frozen=True, slots=True)
class SchemaAnswer:
    """A schema as a registry answers it. id, subject, version: None where the answer does not contain them."""

    type: SchemaType
    text: str
    references: tuple[Reference, ...]
    rules: tuple[str, ...]
    id: int | None
    subject: str | None
    version: int | None
    encrypt_rules: tuple[EncryptRule, ...] = ()


def read_schema(answer: Any, *, about: str) -> SchemaAnswer:
    """Return the schema of an answer. Raises SchemaInvalid.

    about: what was asked for, for messages.
    """
    if not isinstance(answer, dict) or not isinstance(answer.get("schema"), str):
        raise SchemaInvalid(f"the schema registry's answer for {about} contains no schema")
    schema_type = answer.get("schemaType") or "AVRO"  # the registry leaves it out for Avro
    if schema_type not in SCHEMA_TYPES:
        raise SchemaInvalid(
            f"{about} has the type {str(schema_type)[:40]!r}; supported types are {', '.join(SCHEMA_TYPES)}"
        )
    rules, encrypt_rules = _rules(answer.get("ruleSet"), about)
    if encrypt_rules and (schema_type != "AVRO" or _has_tags_by_path(answer.get("metadata"))):
        rules, encrypt_rules = rules + tuple(rule.label for rule in encrypt_rules), ()
    return SchemaAnswer(
        type=cast(SchemaType, schema_type),
        text=answer["schema"],
        references=_references(answer.get("references"), about),
        rules=rules,
        encrypt_rules=encrypt_rules,
        id=_whole(answer.get("id")),
        subject=answer["subject"] if isinstance(answer.get("subject"), str) else None,
        version=_whole(answer.get("version")),
    )


def read_names(answer: Any, *, about: str) -> list[str]:
    """Return a list of names. Raises SchemaInvalid."""
    if not isinstance(answer, list) or not all(isinstance(name, str) for name in answer):
        raise SchemaInvalid(f"the schema registry's answer for {about} is not a list of names")
    return answer


def read_numbers(answer: Any, *, about: str) -> list[int]:
    """Return a list of numbers. Raises SchemaInvalid."""
    if not isinstance(answer, list) or any(_whole(number) is None for number in answer):
        raise SchemaInvalid(f"the schema registry's answer for {about} is not a list of numbers")
    return answer


def read_id(answer: Any, *, about: str) -> int:
    """Return the id of a registered schema. Raises SchemaInvalid."""
    number = _whole(answer.get("id")) if isinstance(answer, dict) else None
    if number is None:
        raise SchemaInvalid(f"the schema registry's answer for {about} contains no id")
    return number


def read_compatibility(answer: Any, *, about: str) -> list[str]:
    """Return what makes a schema incompatible; nothing if it is compatible. Raises SchemaInvalid."""
    if not isinstance(answer, dict) or not isinstance(answer.get("is_compatible"), bool):
        raise SchemaInvalid(f"the schema registry's answer for {about} does not say whether the schema is compatible")
    if answer["is_compatible"]:
        return []
    messages = answer.get("messages")
    found = [str(message) for message in messages if message] if isinstance(messages, list) else []
    return found or ["the schema registry gives no reason"]


def _references(value: Any, about: str) -> tuple[Reference, ...]:
    if not value:
        return ()
    if not isinstance(value, list) or len(value) > MAX_DIRECT_REFERENCES:
        raise SchemaInvalid(f"{about} has references that are not a list of at most {MAX_DIRECT_REFERENCES:,}")
    found = []
    for item in value:
        name, subject, version = (
            (item.get("name"), item.get("subject"), _whole(item.get("version")))
            if isinstance(item, dict)
            else (None, None, None)
        )
        if not isinstance(name, str) or not isinstance(subject, str) or version is None:
            raise SchemaInvalid(f"{about} has a reference without a name, a subject and a version")
        found.append(Reference(name, subject, version))
    return tuple(found)


def _has_tags_by_path(metadata: Any) -> bool:
    """Return whether fields have tags that are not in the schema itself."""
    return isinstance(metadata, dict) and bool(metadata.get("tags"))


def _rules(value: Any, about: str) -> tuple[tuple[str, ...], tuple[EncryptRule, ...]]:
    """Return the rules that are not disabled, in words, and apart from them those that encrypt fields and can be executed."""
    if value is None:
        return (), ()
    if not isinstance(value, dict):
        raise SchemaInvalid(f"{about} has a ruleSet that is not an object")
    found: list[str] = []
    encrypt_rules: list[EncryptRule] = []
    for key, rules in value.items():
        if not isinstance(rules, list):
            # Only lists of rules can be read; anything else that is set might be a rule of a later version.
            if key in _RULE_LISTS and rules is not None:
                raise SchemaInvalid(f"{about} has {key} that are not a list")
            continue
        for rule in rules:
            if not isinstance(rule, dict):
                raise SchemaInvalid(f"{about} has a rule in {key} that is not an object")
            if rule.get("disabled") is not True:
                words = [str(rule.get(part)) for part in ("kind", "name") if rule.get(part)]
                label = f"{' '.join(words) or 'rule'} ({rule.get('type') or 'no type'}, in {key})"[:200]
                encrypt_rule = read_encrypt_rule(rule, label) if key == _DOMAIN_RULES else None
                # Of two rules for one tag, others execute one only.
                if encrypt_rule is None or any(encrypt_rule.tags & other.tags for other in encrypt_rules):
                    found.append(label)
                else:
                    encrypt_rules.append(encrypt_rule)
    return tuple(found), tuple(encrypt_rules)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
