"""The `/status` documents of several workers as one: totals are added, and states are those of the worst. Pure.

The document has the fields of that of a single worker, so the live page and other readers need not know the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

Document = Mapping[str, Any]

_BREAKER_ORDER: Final = ("closed", "half_open", "open")
MAX_WARNINGS: Final = 20
MAX_SAMPLES: Final = 5


def merge_documents(documents: Mapping[int, Document]) -> dict[str, Any]:
    """Return what the workers have in common, added up or merged. The fields of the process itself are left out.

    documents: at least one, by the number of the process.
    """
    every = list(documents.values())
    first = every[0]
    merged: dict[str, Any] = {
        name: first[name] for name in ("model", "processing_guarantee", "input_topics", "window") if name in first
    }
    return merged | {
        "models": _models(every),
        "group": _group(every),
        "partitions": sorted(
            (partition for document in every for partition in document["partitions"]),
            key=lambda partition: (partition["topic"], partition["partition"]),
        ),
        "lag": _known_sum(document["lag"] for document in every),
        "in_flight": _in_flight([document["in_flight"] for document in every]),
        "breakers": _breakers(every),
        "totals": _add([document["totals"] for document in every]),
        "now": merge_rates([document["now"] for document in every]),
        "errors": _errors(every),
        "last_warnings": _warnings(documents),
        **({"rollouts": first["rollouts"]} if "rollouts" in first else {}),
        **_objective(documents),
        **_access(every),
        **({"history": merge_history([document["history"] for document in every])} if "history" in first else {}),
    }


def merge_conditions(documents: Sequence[Document]) -> dict[str, Any]:
    """Return the conditions of health that do not decide liveness and readiness. documents: at least one."""
    every = [document["health"] for document in documents]
    clusters = [health["cluster"] for health in every]
    answered = [health["cluster_answered_ago_s"] for health in every]
    waits = [wait for health in every for wait in health.get("waiting_for_schemas", ())]
    return {
        "breakers": {name: breaker["state"] for name, breaker in _breakers(documents).items()},
        "cluster": next((state for state in ("failing", "unknown") if state in clusters), "ok"),
        "paused": all(health["paused"] for health in every),
        **({"waiting_for_schemas": waits} if waits else {}),
        "still_for_s": max(health["still_for_s"] for health in every),
        "cluster_answered_ago_s": min((age for age in answered if age is not None), default=None),
        "loop_delay_ms": max(health["loop_delay_ms"] for health in every),
    }


def merge_rates(rates: Sequence[Document]) -> dict[str, Any]:
    """Return the current rates. Of percentiles, which cannot be added, the largest of a worker."""
    merged: dict[str, Any] = {}
    for name in dict.fromkeys(name for document in rates for name in document):
        values = [document[name] for document in rates if document.get(name) is not None]
        if name.endswith("_per_s"):
            merged[name] = round(sum(values), 2)
        elif name == "batch_mean":
            merged[name] = round(sum(values) / len(values), 1) if values else None
        else:
            merged[name] = max(values, default=None)
    return merged


def merge_history(histories: Sequence[Document]) -> dict[str, list[Any]]:
    """Return the samples of all workers by second: counts are added; of percentiles the largest."""
    seconds: dict[int, list[dict[str, Any]]] = {}
    names = list(histories[0])
    for history in histories:
        for row in zip(*(history[name] for name in names), strict=True):
            sample = dict(zip(names, row, strict=True))
            seconds.setdefault(sample["at"], []).append(sample)
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for at in sorted(seconds):
        for name in names:
            columns[name].append(at if name == "at" else _merge_samples(name, seconds[at]))
    return columns


def _merge_samples(name: str, samples: Sequence[Document]) -> Any:
    values = [sample[name] for sample in samples if sample[name] is not None]
    if name == "batch_mean":
        batches = sum(sample["batches"] for sample in samples)
        events = sum(sample["batches"] * (sample["batch_mean"] or 0) for sample in samples)
        return round(events / batches, 1) if batches else None
    if name.startswith(("latency_", "model_")) or name == "batch_max":
        return max(values, default=None)
    return sum(values) if values else None


def _known_sum(values: Iterable[int | None]) -> int | None:
    """Return the sum; None if a value is not known."""
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _group(documents: Sequence[Document]) -> dict[str, Any]:
    """Return the group as its most recent member knows it."""
    groups = [document["group"] for document in documents]
    newest = max(groups, key=lambda group: (group["joined"], group["generation"] or -1))
    own = {document["worker"] for document in documents}
    members = [{**member, "self": False, "own": member["worker"] in own} for member in newest["members"]]
    return {
        **newest,
        "joined": all(group["joined"] for group in groups),
        "gate": "open" if all(group["gate"] == "open" for group in groups) else "closed",
        "members": members,
    }


def _models(documents: Sequence[Document]) -> list[dict[str, Any]]:
    """Return each served version with the sums of the workers that serve it."""
    by_version: dict[tuple[str, int], list[Document]] = {}
    for document in documents:
        for model in document["models"]:
            by_version.setdefault((model["name"], model["version"]), []).append(model)
    return [
        {
            **models[0],
            "breaker": _worst_breaker([model["breaker"] for model in models]),
            "in_flight": _add([model["in_flight"] for model in models], largest=("model_call_for_s",)),
            "blocked": next((model["blocked"] for model in models if model["blocked"]), None),
            "window": {
                **models[0]["window"],
                **_add([_pick(model["window"], ("open_windows", "buffered_rows")) for model in models]),
            },
            "instances": [instance for model in models for instance in model["instances"]],
            "priorities": _add([model["priorities"] for model in models]),
            "totals": _add([model["totals"] for model in models]),
            "now": merge_rates([model["now"] for model in models]),
        }
        for models in by_version.values()
    ]


def _objective(documents: Mapping[int, Document]) -> dict[str, Any]:
    """Return the objective as the process reports it that is furthest from it, with its number."""
    objectives = [
        {**document["objective"], "process": number}
        for number, document in documents.items()
        if "objective" in document
    ]
    if not objectives:
        return {}
    return {"objective": max(objectives, key=lambda one: (not one["met"], one["measured_p99_ms"] or 0.0))}


def _access(documents: Sequence[Document]) -> dict[str, Any]:
    """Return the policies of access: an error if a process has one, else those in force since last."""
    found = [document["access"] for document in documents if "access" in document]
    if not found:
        return {}
    return {"access": max(found, key=lambda access: (access["error"] is not None, access["since"]))}


def _in_flight(documents: Sequence[Document]) -> dict[str, Any]:
    numbers = _add(
        [{k: v for k, v in each.items() if k != "reading"} for each in documents], largest=("model_call_for_s",)
    )
    is_paused = all(document["reading"] == "paused" for document in documents)
    return {**numbers, "reading": "paused" if is_paused else "on"}


def _breakers(documents: Sequence[Document]) -> dict[str, Any]:
    names = dict.fromkeys(name for document in documents for name in document["breakers"])
    return {
        name: _worst_breaker([document["breakers"][name] for document in documents if name in document["breakers"]])
        for name in names
    }


def _worst_breaker(breakers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return max(breakers, key=lambda breaker: _BREAKER_ORDER.index(breaker["state"]))


def _errors(documents: Sequence[Document]) -> list[dict[str, Any]]:
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for document in documents:
        for error in document["errors"]:
            by_kind.setdefault(error["kind"], []).append(error)
    merged = []
    for errors in by_kind.values():
        newest = max(errors, key=lambda error: error["last_seen"])
        samples = [sample for error in errors for sample in error["samples"]]
        merged.append({**newest, "count": sum(error["count"] for error in errors), "samples": samples[-MAX_SAMPLES:]})
    return sorted(merged, key=lambda error: -error["count"])


def _warnings(documents: Mapping[int, Document]) -> list[dict[str, Any]]:
    warnings = [
        {**warning, "process": number}
        for number, document in documents.items()
        for warning in document["last_warnings"]
    ]
    return sorted(warnings, key=lambda warning: -warning["at"])[:MAX_WARNINGS]


def _add(documents: Sequence[Document], largest: Sequence[str] = ()) -> dict[str, Any]:
    """Return the sums of numbers, and of numbers in documents within them. largest: names whose largest value is taken."""
    merged: dict[str, Any] = {}
    for document in documents:
        for name, value in document.items():
            if name not in merged:
                merged[name] = dict(value) if isinstance(value, Mapping) else value
            elif isinstance(value, Mapping):
                merged[name] = _add([merged[name], value])
            else:
                combine: Callable[..., Any] = max if name in largest else _plus
                merged[name] = combine(merged[name], value)
    return merged


def _plus(first: float, second: float) -> float:
    return first + second


def _pick(document: Document, names: Sequence[str]) -> dict[str, Any]:
    return {name: document[name] for name in names if name in document}
