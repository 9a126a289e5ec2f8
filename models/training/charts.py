"""Charts as inline SVG, which needs no script and no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

_WIDTH: Final = 560
_HEIGHT: Final = 260
_LEFT: Final = 64
_BOTTOM: Final = 34
_TOP: Final = 14
_RIGHT: Final = 14
_COLOURS: Final = ("#1f6feb", "#d1242f", "#1a7f37", "#9a6700")
_BAR_HEIGHT: Final = 20
_LABEL_WIDTH: Final = 200

Points = Sequence[tuple[float, float]]


def line_chart(title: str, series: Mapping[str, Points], *, x_label: str, y_label: str, diagonal: bool = False) -> str:
    """Return a chart of lines with a legend. diagonal: whether to draw the line from 0, 0 to 1, 1."""
    points = [point for line in series.values() for point in line]
    if not points:
        return ""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    if diagonal:
        xs, ys = [*xs, 0.0, 1.0], [*ys, 0.0, 1.0]
    x_low, x_high, y_low, y_high = min(xs), max(xs), min(ys), max(ys)

    def place(x: float, y: float) -> str:
        across = (x - x_low) / (x_high - x_low or 1.0)
        up = (y - y_low) / (y_high - y_low or 1.0)
        left = _LEFT + across * (_WIDTH - _LEFT - _RIGHT)
        top = _HEIGHT - _BOTTOM - up * (_HEIGHT - _BOTTOM - _TOP)
        return f"{left:.1f},{top:.1f}"

    parts = [_axes(x_label, y_label, (x_low, x_high), (y_low, y_high))]
    if diagonal:
        start, end = place(0, 0), place(1, 1)
        parts.append(f'<polyline points="{start} {end}" fill="none" stroke="#999" stroke-dasharray="4 4"/>')
    for number, (name, line) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(place(x, y) for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if len(line) <= 40:
            for x, y in line:
                left, top = place(x, y).split(",")
                parts.append(f'<circle cx="{left}" cy="{top}" r="2.5" fill="{colour}"/>')
        parts.append(
            f'<text x="{_WIDTH - _RIGHT}" y="{_TOP + 14 + 16 * number}" text-anchor="end">'
            f'<tspan fill="{colour}">{escape(name)}</tspan></text>'
        )
    return _svg(title, _WIDTH, _HEIGHT, "".join(parts))


def bar_chart(title: str, bars: Sequence[tuple[str, float]]) -> str:
    """Return a chart of horizontal bars, each with its name and value."""
    if not bars:
        return ""
    largest = max(abs(value) for _, value in bars) or 1.0
    room = _WIDTH - _LABEL_WIDTH - 80
    parts = []
    for number, (name, value) in enumerate(bars):
        top = number * _BAR_HEIGHT + 4
        length = max(0.0, value) / largest * room
        shown = name if len(name) <= 28 else name[:27] + "…"
        parts.append(
            f'<text x="{_LABEL_WIDTH - 8}" y="{top + 12}" text-anchor="end">{escape(shown)}</text>'
            f'<rect x="{_LABEL_WIDTH}" y="{top}" width="{length:.1f}" height="{_BAR_HEIGHT - 6}" fill="{_COLOURS[0]}"/>'
            f'<text x="{_LABEL_WIDTH + length + 6:.1f}" y="{top + 12}">{value:.4g}</text>'
        )
    return _svg(title, _WIDTH, len(bars) * _BAR_HEIGHT + 8, "".join(parts))


def _axes(x_label: str, y_label: str, x_range: tuple[float, float], y_range: tuple[float, float]) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    return (
        f'<path d="M{_LEFT},{_TOP} V{bottom} H{right}" fill="none" stroke="#999"/>'
        f'<text x="{_LEFT - 6}" y="{_TOP + 8}" text-anchor="end">{y_range[1]:.4g}</text>'
        f'<text x="{_LEFT - 6}" y="{bottom}" text-anchor="end">{y_range[0]:.4g}</text>'
        f'<text x="{_LEFT}" y="{bottom + 16}">{x_range[0]:.4g}</text>'
        f'<text x="{right}" y="{bottom + 16}" text-anchor="end">{x_range[1]:.4g}</text>'
        f'<text x="{(_LEFT + right) / 2}" y="{bottom + 28}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text transform="translate(12,{(_TOP + bottom) / 2}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>'
    )


def _svg(title: str, width: int, height: int, inner: str) -> str:
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title, quote=True)}">{inner}</svg></figure>'
    )
