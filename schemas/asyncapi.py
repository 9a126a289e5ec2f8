"""Describe what Forebay reads and writes as an AsyncAPI 3.0 document, built from the catalogue, definitions and examples.

The document takes the view of the worker, the aggregator and the evaluator: they receive events and labels and send the rest.
Clients that publish events or labels or subscribe to outputs do the opposite.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from forebay.schemas import headers
from forebay.schemas.definitions import Schema, definitions, priority_header
from forebay.schemas.examples import Example, good_examples
from forebay.schemas.outputs import replay_headers
from forebay.schemas.topics import ALL_TOPICS, FEATURES, LABELS, TopicSpec, partitions_of, topic_name

ASYNCAPI_VERSION: Final = "3.0.0"
BINDING_VERSION: Final = "0.5.0"

# For other mechanisms AsyncAPI has no security type that says more than the protocol does.
_SECURITY: Final[Mapping[str, str]] = MappingProxyType(
    {"PLAIN": "plain", "SCRAM-SHA-256": "scramSha256", "SCRAM-SHA-512": "scramSha512", "GSSAPI": "gssapi"}
)


@dataclass(frozen=True, slots=True)
class Deployment:
    """The parts of the document that depend on the deployment; the defaults are those of the configuration.

    bootstrap_servers: "host:port", separated by commas.
    input_topics: names without the prefix.
    """

    bootstrap_servers: str = "localhost:9092"
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    group_id: str = "forebay"
    evaluator_group_id: str = "forebay-evaluate"
    prefix: str = ""
    input_topics: tuple[str, ...] = (FEATURES.name,)
    labels_topic: str = LABELS.name
    partitions: int = 4
    replication_factor: int = 1


def asyncapi_document(version: str, deployment: Deployment | None = None) -> Schema:
    """Return the document as JSON values. Raises ConfigError for a topic name that Kafka does not allow.

    version: the version of Forebay.
    """
    deployment = deployment or Deployment()
    topics = {name: FEATURES for name in deployment.input_topics}
    own = {spec.name: spec for spec in ALL_TOPICS if spec is not FEATURES}
    topics.update({deployment.labels_topic if spec is LABELS else name: spec for name, spec in own.items()})
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": "Forebay",
            "version": version,
            "description": "Feature events and labels in, predictions, dead letters, error aggregates, quality, drift, audit "
            "and alerts out.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": headers.JSON_CONTENT_TYPE,
        "servers": _servers(deployment),
        "channels": {name: _channel(name, spec, deployment) for name, spec in topics.items()},
        "operations": dict(_operation(name, spec, deployment) for name, spec in topics.items()),
        "components": {"messages": _messages()},
    }


def _servers(deployment: Deployment) -> Schema:
    secure = deployment.security_protocol.endswith("SSL")
    server: Schema = {"protocol": "kafka-secure" if secure else "kafka"}
    if deployment.security_protocol.startswith("SASL") and (kind := _SECURITY.get(deployment.sasl_mechanism or "")):
        server["security"] = [{"type": kind}]
    hosts = [host.strip() for host in deployment.bootstrap_servers.split(",")]
    return {f"broker-{number}": {"host": host, **server} for number, host in enumerate(hosts, 1)}


def _message_names(spec: TopicSpec) -> tuple[str, ...]:
    return ("event", "event-f32") if spec is FEATURES else (spec.schema,)


def _channel(name: str, spec: TopicSpec, deployment: Deployment) -> Schema:
    return {
        "address": topic_name(deployment.prefix, name),
        "description": f"{spec.description} Written by {spec.owner}.",
        "messages": {message: _ref("components", "messages", message) for message in _message_names(spec)},
        "bindings": {
            "kafka": {
                "topic": topic_name(deployment.prefix, name),
                "partitions": partitions_of(spec, deployment.partitions),
                "replicas": deployment.replication_factor,
                "topicConfiguration": {
                    "cleanup.policy": [spec.cleanup_policy],
                    "retention.ms": spec.retention_ms,
                },
                "bindingVersion": BINDING_VERSION,
            }
        },
    }


def _operation(name: str, spec: TopicSpec, deployment: Deployment) -> tuple[str, Schema]:
    received = spec in (FEATURES, LABELS)
    reader = "evaluator" if spec is LABELS else "worker"
    operation: Schema = {
        "action": "receive" if received else "send",
        "summary": f"The {reader} reads {name}." if received else f"The {spec.owner.split()[-1]} writes {name}.",
        "channel": _ref("channels", name),
        "messages": [_ref("channels", name, "messages", message) for message in _message_names(spec)],
    }
    if received:
        group = {"type": "string", "enum": [deployment.evaluator_group_id if spec is LABELS else deployment.group_id]}
        operation["bindings"] = {"kafka": {"groupId": group, "bindingVersion": BINDING_VERSION}}
    return f"{operation['action']}-{name}", operation


def _messages() -> Schema:
    schemas = {name: _embedded(schema) for name, schema in definitions().items()}
    topics = {spec.schema: spec for spec in reversed(ALL_TOPICS)}
    trace: Schema = {"type": "string", "description": "W3C trace context, copied unchanged to the outputs."}
    copied: Schema = {"type": "object", "properties": {headers.TRACEPARENT: trace, **replay_headers()}}
    choice: Schema = {
        "type": "string",
        "description": "The name of the model that the event is for, unless its field `model` names one.",
    }
    of_events: Schema = {
        "type": "object",
        "properties": {
            headers.MODEL: choice,
            headers.PRIORITY: priority_header(),
            headers.TRACEPARENT: trace,
            **replay_headers(),
        },
    }
    original: Schema = {"description": "The value of the original record, in any format."}
    raw: Schema = {
        "type": "string",
        "format": "binary",
        "description": "One little-endian float32 (4 bytes) for each feature.",
    }
    # Payload, headers and content type of each message.
    parts: dict[str, tuple[Schema, Schema, str]] = {
        "event": (schemas["event"], of_events, headers.JSON_CONTENT_TYPE),
        "event-f32": (raw, schemas["event-f32"], headers.F32_CONTENT_TYPE),
        "prediction": (schemas["prediction"], copied, headers.JSON_CONTENT_TYPE),
        "dead-letter": (original, schemas["dead-letter"], "application/octet-stream"),
        "late-event": (original, schemas["late-event"], "application/octet-stream"),
        **{
            name: (schemas[name], {"type": "object"}, headers.JSON_CONTENT_TYPE)
            for name in (
                "rollout",
                "rollout-switch",
                "shadow-prediction",
                "label",
                "quality",
                "drift",
                "audit",
                "outcome-delta",
                "error-aggregate",
                "alert",
                "aggregator-changelog",
            )
        },
    }
    return {
        name: {
            "name": name,
            "title": schemas[name]["title"],
            "summary": schemas[name]["description"],
            "contentType": content_type,
            "payload": payload,
            "headers": with_headers,
            "bindings": {
                "kafka": {
                    "key": {"type": "string", "description": topics.get(name, FEATURES).key},
                    "bindingVersion": BINDING_VERSION,
                }
            },
            "examples": [_example(example) for example in good_examples() if example.schema == name],
        }
        for name, (payload, with_headers, content_type) in parts.items()
    }


def _embedded(schema: Schema) -> Schema:
    # AsyncAPI has a dialect of its own for schemas; ours use only what both dialects have.
    return {key: value for key, value in schema.items() if key not in ("$schema", "$id")}


def _example(example: Example) -> Schema:
    shown: Schema = {"name": example.name, "summary": example.text}
    if example.headers:
        shown["headers"] = {name: value.decode() for name, value in example.headers}
    if example.schema != "event-f32" and example.value is not None:
        text = example.value.decode()
        try:
            shown["payload"] = json.loads(text)
        except ValueError:
            shown["payload"] = text
    return shown


def _ref(*path: str) -> Schema:
    return {"$ref": "#/" + "/".join(path)}
