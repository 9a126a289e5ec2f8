"""The tables and texts of `forebay models`. Texts come from files, so control characters are escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from forebay.stream.core.quantities import quantity
from forebay.stream.terminal.console import (
    DIM,
    GREEN,
    RED,
    YELLOW,
    plain_table,
    stderr_console,
    stdout_console,
    visible,
)

if TYPE_CHECKING:
    from forebay.models.artefacts.aliases import AliasMove, VersionCopy
    from forebay.models.artefacts.manifest import Manifest
    from forebay.models.artefacts.progress import OnProgress
    from forebay.models.registration.candidate import ConversionNote
    from forebay.stream.cli.models_reading import Validation, Version

_MAX_LISTED: Final = 12
_MAX_CHARS: Final = 1000
_SMALL_BYTES: Final = 1_000_000  # are read and written before anybody has read the bar


def models_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Return a table with one line per model."""
    table = plain_table("model", "versions", "highest", "task", "published", "aliases", right=("versions", "highest"))
    for row in rows:
        aliases = ", ".join(f"{alias} → {version}" for alias, version in row["aliases"].items())
        about = Text(aliases) if row["error"] is None else Text(_line(row["error"]), RED)
        cells = (
            row["name"],
            str(len(row["versions"])),
            str(row["highest"]),
            row["task"] or "",
            _day(row["created_at"]),
        )
        table.add_row(*map(Text, cells), about)
    return table


def versions_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Return a table with one line per version."""
    table = plain_table(
        "version", "aliases", "published", "parent", "licence", "metrics", "note", right=("version", "parent")
    )
    for row in rows:
        note = Text(_line(row["note"])) if row["error"] is None else Text(_line(row["error"]), RED)
        cells = (
            str(row["version"]),
            ", ".join(row["aliases"]),
            _day(row["created_at"]),
            _or_empty(row["parent"]),
            _line(row["licence"]),
            _metrics(row["metrics"]),
        )
        table.add_row(*map(Text, cells), note)
    return table


def version_text(shown: Version) -> Table:
    """Return everything about a version, one property a line."""
    manifest, about = shown.manifest, shown.manifest.provenance
    tolerance = manifest.tolerance
    properties = {
        "model": f"{manifest.name}@{manifest.version}",
        "aliases": ", ".join(shown.aliases),
        "folder": str(shown.folder),
        "published": about.created_at.isoformat(),
        "parent": _or_empty(about.parent),
        "copied from": ""
        if about.source is None
        else ", ".join(f"{key} {value}" for key, value in about.source.items()),
        "licence": about.licence,
        "note": about.note,
        "backend": ", ".join(filter(None, (manifest.backend, manifest.architecture))),
        "signature": shown.signed.text,
        "code of its own": "a module that workers need in trust.modules"
        if manifest.backend == "python-module"
        else "yes: workers need it in trust.manifests, or the repository in trust.repositories"
        if shown.runs_code
        else "",
        "parameters": ", ".join(f"{key} = {value}" for key, value in manifest.params.items()),
        "task": manifest.signature.task,
        "outputs": _outputs(manifest),
        "calibration": _calibration(manifest),
        "threshold": ""
        if manifest.threshold is None
        else f"class 1 from {manifest.threshold:g} on, unless decision.threshold is set",
        "features": _features(manifest),
        "window": _window(manifest),
        "preprocessing": " → ".join(step.kind for step in manifest.preprocessing.steps) or "none",
        "metrics": _metrics(about.metrics),
        "golden rows": "none (format 1)"
        if tolerance is None
        else f"tolerance {tolerance.absolute:.3g} + {tolerance.relative:.3g} × |golden output|",
        "reference statistics": _reference_statistics(about.reference_statistics),
    }
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in properties.items():
        if value:
            shown_value = value if len(value) <= _MAX_CHARS else value[:_MAX_CHARS] + "…"
            table.add_row(Text(name, DIM), Text(visible(shown_value)))
    table.add_row(Text("manifest", DIM), Text(f"sha256 {shown.manifest_sha256}"))
    for name, entry in sorted(manifest.files.items()):
        table.add_row(Text("file", DIM), Text(f"{name}  {entry.num_bytes:,} bytes  sha256 {visible(entry.sha256)}"))
    return table


def history_table(moves: Iterable[AliasMove | VersionCopy]) -> Table:
    """Return a table with one line per move of an alias, or copy of a version."""
    from forebay.models.artefacts.aliases import VersionCopy

    table = plain_table("at", "alias", "from", "to", "by", "reason", right=("from", "to"))
    for move in moves:
        if isinstance(move, VersionCopy):
            reason = f"copied from {_line(move.uri)}"
            table.add_row(*map(Text, (_moment(move.at), "", "", str(move.version), _line(move.by), reason)))
            continue
        after = "removed" if move.after is None else str(move.after)
        cells = (_moment(move.at), move.alias, _or_empty(move.before), after, _line(move.by), _line(move.reason))
        table.add_row(*map(Text, cells))
    return table


def notes_table(notes: Iterable[ConversionNote]) -> Table:
    """Return a table with one line for each part of a model that was converted."""
    table = plain_table("part", "result", "reason")
    for note in notes:
        colour = GREEN if note.result == "frozen" else YELLOW
        table.add_row(Text(_line(note.part)), Text(note.result, colour), Text(visible(" ".join(note.reason.split()))))
    return table


def print_validation(result: Validation) -> None:
    """Print whether a version can be served, and the remedy if it cannot."""
    console = stdout_console()
    mark = Text("✓", GREEN) if result.error is None else Text("✗", RED)
    console.print(Text.assemble(mark, " ", (visible(result.reference), "bold"), "  ", visible(result.detail)))
    if result.error is not None and result.error.remedy:
        console.print(Text(f"  hint: {visible(result.error.remedy)}", DIM))


@contextmanager
def download_bar() -> Iterator[OnProgress]:
    """Provide a function that shows a download as a bar on the standard error, if that is a terminal, and remove it after."""
    console = stderr_console()
    bar = ByteBar(console=console, transient=True, disable=not console.is_terminal)
    with bar.progress:
        yield bar.show


class ByteBar:
    """A bar for the bytes of one place after the other. options: of `rich.progress.Progress`."""

    def __init__(self, **options: Any) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
        )
        self.progress = Progress(*columns, **options)
        self._task: TaskID | None = None
        self._place = ""

    def show(self, place: str, num_bytes: int, total: int) -> None:
        """Show how many of the bytes of a place have been read or written; small places are not shown."""
        if total < _SMALL_BYTES:
            return
        if self._task is None or place != self._place:
            if self._task is not None:
                self.progress.remove_task(self._task)
            self._task, self._place = self.progress.add_task(visible(place), total=total), place
        self.progress.update(self._task, completed=num_bytes)


def _features(manifest: Manifest) -> str:
    features = manifest.signature.features
    if not features:
        return f"{manifest.signature.num_features} numbers without names, shape {list(manifest.signature.shape)}"
    described = [
        feature.name
        + (f" ({len(feature.categories)} categories)" if feature.categories else "")
        + (f" (text in {feature.buckets} buckets)" if feature.buckets else "")
        + (f" (time: {', '.join(feature.parts)})" if feature.parts else "")
        + (" or missing" if feature.nullable else "")
        for feature in features[:_MAX_LISTED]
    ]
    return f"{len(features)}: {_listed(described, len(features))}"


def _reference_statistics(document: Mapping[str, object] | None) -> str:
    if document is None:
        return ""
    from forebay.models.artefacts.reference_statistics import ReferenceStatistics

    statistics = ReferenceStatistics.from_dict(document)
    if statistics is None:
        return f"version {document['version']}, which this version of Forebay does not read; --json prints them"
    features = quantity(len(statistics.features), "feature")
    outputs = quantity(len(statistics.outputs), "output")
    missing = [(column.missing / column.rows, column.name) for column in statistics.features if column.missing]
    most = f"; {max(missing)[1]} is missing in {max(missing)[0]:.1%}" if missing else ""
    return f"of {quantity(statistics.rows, 'row')}: {features}, {outputs}{most}; --json prints them"


def _outputs(manifest: Manifest) -> str:
    labels = manifest.signature.labels
    names = f": {_listed(labels[:_MAX_LISTED], len(labels))}" if labels else ""
    return f"{manifest.signature.output_dim}{names}"


def _calibration(manifest: Manifest) -> str:
    calibration = manifest.calibration
    if calibration is None:
        return ""
    numbers = {
        "isotonic": quantity(len(calibration.x), "point"),
        "platt": f"slope {calibration.slope:.4g}, intercept {calibration.intercept:.4g}",
        "temperature": f"{calibration.temperature:.4g}",
    }
    return f"{calibration.method}: {numbers[calibration.method]}"


def _window(manifest: Manifest) -> str:
    window = manifest.signature.window
    if window is None:
        return ""
    if window.sequence_length:
        return f"the last {window.sequence_length} events"
    return f"{len(window.aggregates)} aggregates"


def _listed(names: Sequence[str], count: int) -> str:
    return ", ".join(names) + (f" (and {count - len(names)} more)" if count > len(names) else "")


def _metrics(metrics: Mapping[str, float]) -> str:
    return _listed([f"{_line(name)} {value:.4g}" for name, value in list(metrics.items())[:_MAX_LISTED]], len(metrics))


def _day(created_at: str | None) -> str:
    return "" if created_at is None else created_at[:10]


def _moment(at: datetime) -> str:
    return at.isoformat(sep=" ", timespec="seconds")


def _or_empty(value: object) -> str:
    return "" if value is None else str(value)


def _line(text: str) -> str:
    """Return the text on one line, shortened."""
    line = visible(" ".join(text.split()))
    return line if len(line) <= 120 else line[:119] + "…"
