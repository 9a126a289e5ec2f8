"""The report of a training as one HTML page without scripts or other files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

from forebay.models.training.charts import bar_chart, line_chart

_MAX_CLASSES: Final = 30
_MAX_BARS: Final = 25

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1f2328; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid #d0d7de; }
table { border-collapse: collapse; margin: .5rem 0; } th, td { padding: .2rem .7rem; border: 1px solid #d0d7de; }
td.number { text-align: right; font-variant-numeric: tabular-nums; } th { background: #f6f8fa; text-align: left; }
figure { display: inline-block; margin: .5rem 1rem .5rem 0; } figcaption { font-weight: 600; }
svg { width: 34rem; max-width: 100%; } svg text { font-size: 11px; fill: #57606a; }
.warning { background: #fff8c5; border-left: 4px solid #d4a72c; padding: .3rem .8rem; margin: .3rem 0; }
pre { background: #f6f8fa; padding: .8rem; overflow-x: auto; }
@media (prefers-color-scheme: dark) { body { background: #0d1117; color: #e6edf3; } th, pre { background: #161b22; }
  th, td, h2 { border-color: #30363d; } svg text { fill: #9198a1; } .warning { background: #3b2f00; } }
"""


def report_page(document: Mapping[str, Any]) -> str:
    """Return the page for a report's JSON values."""
    model, data = document["model"], document["data"]
    version = "not registered" if model["version"] is None else f"version {model['version']}"
    title = f"{model['name']}, {version}"
    sections = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{escape(model['architecture'])}, {escape(data['task'])}; label {escape(data['label'])}, from "
        f"{escape(data['source'])}</p>",
        *(f'<p class="warning">{escape(warning)}</p>' for warning in data["warnings"]),
        "<h2>Metrics</h2>",
        _metrics(document["metrics"]),
        "<h2>Training</h2>",
        _training(document["training"]),
        *_evaluation(document["evaluation"], data["classes"]),
        *_trials(document["trials"]),
        "<h2>Data</h2>",
        _data(data),
        "<h2>Recipe</h2>",
        f"<pre>{escape(document['recipe'])}</pre>",
        "<h2>Digests</h2>",
        _table(("what", "SHA-256"), [("content", model["content_sha256"]), ("manifest", model["manifest_sha256"])]),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body></html>\n"
    )


def _metrics(metrics: Mapping[str, Mapping[str, float]]) -> str:
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    rows = [(part, *(values.get(name) for name in names)) for part, values in metrics.items()]
    return _table(("rows of", *(name.replace("_", " ") for name in names)), rows)


def _training(training: Mapping[str, Any]) -> str:
    unit, history = training["unit"], training["history"]
    lines = {
        "training": [(record["epoch"], record["training_loss"]) for record in history],
        "validation": [(record["epoch"], record["validation_loss"]) for record in history],
    }
    chart = line_chart(f"Loss by {unit}", lines, x_label=unit, y_label="loss")
    return (
        f"<p>The best {unit} is {training['best']} of {len(history)}; it ended: {escape(training['end'])}.</p>{chart}"
    )


def _evaluation(found: Mapping[str, Any], classes: Sequence[str]) -> Iterable[str]:
    part, metric = found["part"], found["metric"]
    if found["confusion"]:
        yield f"<h2>Confusion ({part} rows)</h2>"
        yield _confusion(found["confusion"], classes)
    if found["calibration"]:
        yield f"<h2>Calibration ({part} rows)</h2>"
        points = [(item["predicted"], item["observed"]) for item in found["calibration"]]
        yield line_chart(
            "Share of the class by predicted probability",
            {"observed": points},
            x_label="predicted probability",
            y_label="observed share",
            diagonal=True,
        )
    if found["residuals"]:
        yield f"<h2>Errors ({part} rows): true minus predicted</h2>"
        names = ("least", "5 %", "25 %", "median", "75 %", "95 %", "largest")
        yield _table(names, [found["residuals"]])
    if found["importances"]:
        yield f"<h2>Importance ({part} rows)</h2>"
        yield f"<p>How much the {metric} loses when the values of a feature are shuffled among the rows.</p>"
        bars = [(item["feature"], item["loss_of_metric"]) for item in found["importances"]][:_MAX_BARS]
        yield bar_chart(f"Loss of {metric}", bars)
    if found["slices"]:
        yield f"<h2>Slices ({part} rows)</h2>"
        yield f"<p>The {metric} of all rows is {_shown(found['overall'])}. The farthest from it:</p>"
        slices = sorted(found["slices"], key=lambda item: -abs(item["metric"] - found["overall"]))[:_MAX_BARS]
        yield _table(
            ("feature", "value", "rows", metric),
            [(item["feature"], item["value"], item["rows"], item["metric"]) for item in slices],
        )


def _confusion(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    if len(counts) > _MAX_CLASSES:
        return f"<p>There are {len(counts)} classes: see report.json.</p>"
    return _table(("true \\ predicted", *classes), [(name, *row) for name, row in zip(classes, counts, strict=True)])


def _trials(trials: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    if trials:
        names = list(trials[0]["values"])
        yield "<h2>Search</h2>"
        yield _table(
            ("trial", *names, "validation loss", "problem"),
            [
                (
                    trial["number"],
                    *(str(trial["values"][name]) for name in names),
                    trial["validation_loss"],
                    trial["problem"],
                )
                for trial in trials
            ],
        )


def _data(data: Mapping[str, Any]) -> str:
    rows = ", ".join(f"{count:,} {part}" for part, count in data["rows"].items())
    steps = ", ".join(data["steps"]) or "none"
    features = [
        (item["name"], item["type"], "yes" if item["nullable"] else "no", item["codes"] or "")
        for item in data["features"]
    ]
    notes = "".join(f"<li>{escape(note)}</li>" for note in data["notes"])
    return (
        f"<p>{rows} rows, split by {escape(data['split_by'])}. Steps: {escape(steps)}; {data['prepared_columns']} columns "
        f"after them.</p><ul>{notes}</ul>" + _table(("feature", "type", "may be missing", "codes"), features)
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    kind = ' class="number"' if isinstance(value, int | float) else ""
    return f"<td{kind}>{escape(_shown(value))}</td>"


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if value != int(value) or abs(value) > 1e9 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None else str(value)
