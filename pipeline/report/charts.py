"""Line charts as numbers that the templates draw as SVG: equal input gives equal bytes, and nothing is imported."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Size of a chart, and the frame of its axes in it: left, top, right, bottom.
WIDTH, HEIGHT = 560, 320
LEFT, TOP, RIGHT, BOTTOM = 52, 12, 548, 272
#: Mid-tones with enough contrast on white and on near-black; lines of one colour are told apart by their dashes.
COLOURS = ("#2f7ad1", "#c8651b", "#23875a", "#a8499a")
DASHES = ("", "7 4", "2 3", "10 3 2 3")


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        path: of SVG.
        colour, dash: its look, by position in :data:`COLOURS` and :data:`DASHES`.
        mark: place of an upright mark across, None where it has none.
    """

    name: str
    path: str
    colour: str
    dash: str
    mark: float | None = None


@dataclass(frozen=True)
class Chart:
    """A chart: lines, ticks as (place in the picture, text), and the texts of its axes."""

    key: str
    title: str
    lines: Sequence[Line]
    xticks: Sequence[tuple[float, str]]
    yticks: Sequence[tuple[float, str]]
    xlabel: str
    ylabel: str
    width: int = WIDTH
    height: int = HEIGHT
    frame: tuple[int, int, int, int] = (LEFT, TOP, RIGHT, BOTTOM)


def line_chart(
    key: str,
    title: str,
    lines: Mapping[str, tuple[Sequence[float], Sequence[float], int, int]],
    xlabel: str,
    ylabel: str,
    xrange: tuple[float, float] | None = None,
    yrange: tuple[float, float] | None = None,
    marks: Mapping[str, float | None] | None = None,
) -> Chart:
    """A chart of lines.

    Args:
        key: its name on the page.
        title: what it shows, for those who cannot see it.
        lines: by name: x, y, position of the colour, position of the dash; values that are no numbers are left out.
        xrange, yrange: of the axes; those of the values if not given.
        marks: by line, where on the horizontal axis it has an upright mark.
    """
    xs = [v for line in lines.values() for v in line[0] if math.isfinite(v)]
    ys = [v for line in lines.values() for v in line[1] if math.isfinite(v)]
    x, y = xrange or _range(xs), yrange or _range(ys)
    places = {name: _place(mark, x, LEFT, RIGHT) for name, mark in (marks or {}).items() if mark is not None}
    return Chart(
        key,
        title,
        [Line(name, _path(line[0], line[1], x, y), COLOURS[line[2] % 4], DASHES[line[3] % 4], places.get(name))
         for name, line in lines.items()],
        [(_place(value, x, LEFT, RIGHT), text) for value, text in _ticks(*x)],
        [(_place(value, y, BOTTOM, TOP), text) for value, text in _ticks(*y)],
        xlabel,
        ylabel,
    )  # fmt: skip


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _place(value: float, ends: tuple[float, float], start: float, stop: float) -> float:
    return round(start + (value - ends[0]) / (ends[1] - ends[0]) * (stop - start), 1)


def _path(xs: Sequence[float], ys: Sequence[float], x: tuple[float, float], y: tuple[float, float]) -> str:
    points = [
        f"{_place(a, x, LEFT, RIGHT):g},{_place(b, y, BOTTOM, TOP):g}"
        for a, b in zip(xs, ys, strict=True)
        if math.isfinite(a) and math.isfinite(b)
    ]
    return f"M{' '.join(points)}" if points else ""


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Round numbers in a range: about five, 1, 2 or 5 apart."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [(i * step, f"{i * step:.6g}") for i in range(first, last + 1)]
