"""Curves as plain SVG: how a cost grows, ours beside the peer's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 420, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 56, 46
_COLOURS = ("#0b5fa5", "#c2410c", "#4d7c0f")
_TICKS = 4


@dataclass(frozen=True)
class Series:
    """One curve."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Panel:
    """Some curves on the same axes: the one across is logarithmic, the one upwards begins at 0."""

    title: str
    across: str
    upwards: str
    series: tuple[Series, ...]


def svg(panels: Sequence[Panel]) -> str:
    """Return a picture of panels side by side."""
    width = _WIDTH * max(1, len(panels))
    drawn = "\n".join(
        f'<g transform="translate({number * _WIDTH},0)">\n{_panel(panel)}\n</g>' for number, panel in enumerate(panels)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" width="{width}" height="{_HEIGHT}" '
        f'font-family="sans-serif" font-size="11">\n<rect width="{width}" height="{_HEIGHT}" fill="white"/>\n'
        f"{drawn}\n</svg>\n"
    )


def _panel(panel: Panel) -> str:
    xs = sorted({x for series in panel.series for x, _ in series.points})
    top = nice_above(max((y for series in panel.series for _, y in series.points), default=1.0))
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    parts = [_text(_LEFT, 18, panel.title, size=13), _text((_LEFT + right) / 2, _HEIGHT - 8, panel.across, "middle")]
    parts.append(_text(_LEFT - 48, _TOP - 8, panel.upwards))
    for step in range(_TICKS + 1):
        y = bottom - (bottom - _TOP) * step / _TICKS
        parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{top * step / _TICKS:g}", "end"))
    parts += [_text(_across(x, xs), bottom + 16, short(x), "middle") for x in xs]
    for number, series in enumerate(panel.series):
        parts += _curve(series, xs, top, _COLOURS[number % len(_COLOURS)], 32 + 13 * number)
    return "\n".join(parts)


def _curve(series: Series, xs: Sequence[float], top: float, colour: str, name_at: float) -> Iterable[str]:
    bottom = _HEIGHT - _BOTTOM
    spots = [(_across(x, xs), bottom - (bottom - _TOP) * y / top) for x, y in series.points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
    yield f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
    yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in spots)
    yield _text(_WIDTH - _RIGHT, name_at, series.name, "end", colour=colour)


def _across(x: float, xs: Sequence[float]) -> float:
    low, high = math.log(xs[0]), math.log(xs[-1])
    share = (math.log(x) - low) / (high - low) if high > low else 0.5
    return _LEFT + 12 + (_WIDTH - _RIGHT - _LEFT - 24) * share


def _text(x: float, y: float, text: str, anchor: str = "start", *, size: int = 11, colour: str = "#333") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{escape(text)}</text>'
    )


def nice_above(value: float) -> float:
    """Return a number with one digit, 1, 2, 4 or 8, that is no less than ``value``."""
    if value <= 0:
        return 1.0
    unit: float = 10.0 ** math.floor(math.log10(value))
    return next(factor * unit for factor in (1, 2, 4, 8, 10) if factor * unit >= value)


def short(value: float) -> str:
    """Return a number with the letter of a power of 1024, if it is a multiple of that."""
    for power, letter in ((1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")):
        if value >= power and value % power == 0:
            return f"{value / power:g} {letter}"
    return f"{value:g}"
