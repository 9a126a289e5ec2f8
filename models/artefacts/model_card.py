"""The model card of a version: a Markdown page for people, made from the manifest alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from forebay.models.artefacts.backend_files import BACKENDS
from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.artefacts.user_module import MODULE_BACKEND

CARD_FILE: Final = "README.md"

# A card is read by people: long lists are cut, and the manifest has all of them.
_MAX_FEATURES: Final = 200
_MAX_LISTED: Final = 20
_MAX_METRICS: Final = 100
_MAX_CHARS: Final = 200
_MAX_NOTE_CHARS: Final = 20_000
# Underscores within a word, as in the names of most features, are not markup.
_MARKUP: Final = re.compile(r"([\\`*{}\[\]<>#|~!&]|(?<!\w)_|_(?!\w))")


def model_card(manifest: Manifest) -> bytes:
    """Return the page in UTF-8. The same manifest gives the same bytes.

    manifest: with the entries of the files that the version consists of, the card not among them.
    """
    about, signature = manifest.provenance, manifest.signature
    sections = [
        [f"# {_text(manifest.name)}, version {manifest.version}"],
        [_summary(manifest)],
        [_paragraphs(about.note)] if about.note else [],
        ["## Input", *_input(signature)],
        ["## Output", *_output(manifest)],
        ["## Preprocessing", *_preprocessing(manifest)],
        ["## Metrics", *_metrics(manifest)],
        ["## Origin", _table(("", ""), _origin(manifest))],
        ["## Files", _files(manifest)],
        ["## How to serve it", *_serving(manifest)],
    ]
    return ("\n\n".join(block for section in sections for block in section) + "\n").encode()


def _summary(manifest: Manifest) -> str:
    kinds = {"regression": "regression", "binary": "binary classification", "multiclass": "multiclass classification"}
    architecture = f" ({_text(manifest.architecture)})" if manifest.architecture else ""
    return f"A model for {kinds[manifest.signature.task]}, run by the backend `{manifest.backend}`{architecture} of Forebay."


def _input(signature: Signature) -> list[str]:
    shape = " × ".join(map(str, signature.shape))
    blocks = []
    if signature.window is not None:
        window = signature.window
        what = (
            f"the last {window.sequence_length} events"
            if window.sequence_length
            else f"{len(window.aggregates)} aggregates of the events"
        )
        blocks.append(f"A row is made from a window: {what}. The features are those of an event.")
    if not signature.features:
        return [*blocks, f"{signature.num_features} numbers without names (shape {shape}), all required."]
    rows = [
        (_text(feature.name), feature.dtype, "no" if feature.nullable else "yes", _values(feature))
        for feature in signature.features[:_MAX_FEATURES]
    ]
    blocks.append(_table(("feature", "type", "required", "values"), rows))
    if len(signature.features) > _MAX_FEATURES:
        blocks.append(f"And {len(signature.features) - _MAX_FEATURES} more, which are in `manifest.json`.")
    return blocks


def _values(feature: Feature) -> str:
    return _listed(feature.categories or feature.parts) if feature.categories or feature.parts else ""


def _output(manifest: Manifest) -> list[str]:
    signature = manifest.signature
    returns = {
        "logits": "logits, which become probabilities when they are served",
        "probabilities": "probabilities",
        "values": "values",
    }
    blocks = [f"{signature.output_dim} for each row: {returns[manifest.outputs]}."]
    if manifest.calibration is not None:
        blocks.append(f"The probabilities are calibrated on labels ({manifest.calibration.method}).")
    if manifest.threshold is not None:
        blocks.append(
            f"Class 1 from a probability of {manifest.threshold:g} on, unless a worker configures another threshold."
        )
    if signature.labels:
        blocks.append(f"Classes, in order: {_listed(signature.labels)}.")
    return blocks


def _preprocessing(manifest: Manifest) -> list[str]:
    steps = manifest.preprocessing.steps
    if not steps:
        return ["None: the model takes rows as events give them."]
    lines = [
        f"{number}. {_text(step.kind)}: {step.width} columns in, {step.output_width} out"
        for number, step in enumerate(steps, start=1)
    ]
    return ["The worker applies these fitted steps to every row, in this order:", "\n".join(lines)]


def _metrics(manifest: Manifest) -> list[str]:
    metrics = list(manifest.provenance.metrics.items())
    if not metrics:
        return ["None were stated."]
    rows = [(_text(name), f"{float(value):.6g}") for name, value in metrics[:_MAX_METRICS]]
    blocks = [_table(("metric", "value"), rows)]
    if len(metrics) > _MAX_METRICS:
        blocks.append(f"And {len(metrics) - _MAX_METRICS} more, which are in `manifest.json`.")
    return blocks


def _origin(manifest: Manifest) -> list[tuple[str, str]]:
    about = manifest.provenance
    return [
        ("created", about.created_at.isoformat()),
        ("made from", "not stated" if about.parent is None else f"version {about.parent}"),
        ("licence", _text(about.licence) or "not stated"),
        ("reference statistics", "none" if about.reference_statistics is None else "in `manifest.json`"),
    ]


def _files(manifest: Manifest) -> str:
    rows = [(f"`{name}`", f"{entry.num_bytes}", f"`{entry.sha256}`") for name, entry in sorted(manifest.files.items())]
    return _table(("file", "bytes", "SHA-256"), rows)


def _serving(manifest: Manifest) -> list[str]:
    assert manifest.tolerance is not None, "format 1 has no card"
    command = f"forebay run --set model.name={manifest.name} --set model.version={manifest.version}"
    blocks = ["In the folder that holds the model repository `models`:", f"```sh\n{command}\n```"]
    if manifest.backend == MODULE_BACKEND:
        blocks.append(
            f"**This version is `{manifest.params.get('object')}` in the Python module `{manifest.params.get('module')}`.** "
            "A worker loads it only where the module is installed, and its `[trust]` settings list it under `modules`."
        )
    elif BACKENDS[manifest.backend].runs_code:
        blocks.append(
            "**This version contains code that runs when it is loaded.** A worker loads it only if its `[trust]` settings "
            "name the repository or the digest of `manifest.json`."
        )
    blocks.append(
        "Before it serves, a worker compares the outputs for the golden rows with the stored ones. Allowed is a difference of "
        f"{manifest.tolerance.absolute:.6g} + {manifest.tolerance.relative:.6g} × |output|."
    )
    return blocks


def _listed(names: Sequence[str]) -> str:
    more = f" (and {len(names) - _MAX_LISTED} more)" if len(names) > _MAX_LISTED else ""
    return ", ".join(_text(name) for name in names[:_MAX_LISTED]) + more


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _paragraphs(note: str) -> str:
    cut = note if len(note) <= _MAX_NOTE_CHARS else note[:_MAX_NOTE_CHARS] + "…"
    return "  \n".join(_escaped(line) for line in cut.splitlines())


def _text(text: str) -> str:
    """Return a text for one line: nothing in it is taken as Markdown or HTML, and a long one is cut."""
    return _escaped(text if len(text) <= _MAX_CHARS else text[:_MAX_CHARS] + "…")


def _escaped(text: str) -> str:
    visible = "".join(char if char.isprintable() else " " for char in text)
    return _MARKUP.sub(r"\\\1", visible)
