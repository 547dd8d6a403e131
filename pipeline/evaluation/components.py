"""Connected components of ``image > level`` at all 256 levels, each pixel visited once.

As the level falls, components only grow. Pixels are added in order of falling grey value, raster order among equals;
a union-find over components carries what each level asks of them: the bounding box and, on 2×2 cells, twice the area
of the contour (a polygon through pixel centres) and four times the Euler number. What a new pixel changes depends on
which of its eight neighbours are already there, hence on tables of 256 entries.

Without holes the cells give the contour's area exactly. With holes they bound it from below (a hole's own contour
encloses at least 2) and the bounding box bounds it from above; a border is followed only where these bounds leave the
winner open. Border following:
Suzuki & Abe, "Topological structural analysis of digitized binary images by border following", CVGIP 1985.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.compiled import compiled
from pipeline.evaluation.neighbourhood import LEVELS, NEIGHBOURS, by_level, cell_table, group_table, neighbour_masks

_DX = np.array([dx for dx, _ in NEIGHBOURS], np.int64)
_DY = np.array([dy for _, dy in NEIGHBOURS], np.int64)
_CELLS = cell_table()
_GROUPS = {connectivity: group_table(connectivity) for connectivity in (4, 8)}
# Columns of a component's record.
_X0, _Y0, _X1, _Y1, _AREA, _EULER, _FIRST, _KNOWN, _TIGHT = range(9)
# Entries of the counters.
_BORN, _LIVE, _DEAD = range(3)


class _Forest(NamedTuple):
    """The components of the level reached so far. ``N`` is a bound on how many are ever born.

    Attributes:
        starts: ``(257,)``, where each value's pixels begin in ``order``.
        order: pixels by falling value, as ``y << 16 | x``.
        masks: ``(H+2, W+2)``, the neighbours that were added before each pixel.
        joins: ``(256, 4)``, for each mask the steps to one neighbour of each group, zero where there is no more.
        labels: ``(H+2, W+2)``, the component each pixel was added to.
        parents: ``(N,)``, union-find over components.
        records: ``(N, 9)``, see the columns above.
        live, slot: ``(N,)`` each, the components not yet merged, and where each stands in that list.
        dead: ``(N,)``, components merged into others since the list was last emptied.
        counters: ``(3,)``, lengths of the lists.
    """

    starts: NDArray[np.int64]
    order: NDArray[np.int32]
    masks: NDArray[np.uint8]
    joins: NDArray[np.int64]
    labels: NDArray[np.int32]
    parents: NDArray[np.int32]
    records: NDArray[np.int32]
    live: NDArray[np.int32]
    slot: NDArray[np.int32]
    dead: NDArray[np.int32]
    counters: NDArray[np.int64]


def _plant(image: NDArray[np.uint8], connectivity: Literal[4, 8]) -> _Forest:
    """The forest before the first pixel."""
    height, width = image.shape
    starts, order = by_level(image)
    n = (height * width + 1) // 2  # no two births touch
    return _Forest(
        starts,
        order,
        neighbour_masks(image).reshape(-1),
        _GROUPS[connectivity] @ np.array([1, width + 2]),
        np.empty((height + 2) * (width + 2), np.int32),
        np.empty(n, np.int32),
        np.empty((n, 9), np.int32),
        np.empty(n, np.int32),
        np.empty(n, np.int32),
        np.empty(n, np.int32),
        np.zeros(3, np.int64),
    )


@compiled
def _find(parents: NDArray[np.int32], component: int) -> int:
    while parents[component] != component:
        parents[component] = parents[parents[component]]
        component = parents[component]
    return int(component)


@compiled
def _bear(forest: _Forest, x: int, y: int, pixel: int) -> int:
    """A new component of one pixel."""
    c = forest.counters[_BORN]
    forest.counters[_BORN] += 1
    forest.parents[c] = c
    forest.live[forest.counters[_LIVE]], forest.slot[c] = c, forest.counters[_LIVE]
    forest.counters[_LIVE] += 1
    records = forest.records
    records[c, _X0], records[c, _X1], records[c, _Y0], records[c, _Y1] = x, x, y, y
    records[c, _AREA], records[c, _EULER], records[c, _FIRST] = 0, 4, pixel
    records[c, _KNOWN], records[c, _TIGHT] = 0, 0
    return int(c)


@compiled
def _merge(forest: _Forest, into: int, gone: int) -> None:
    records = forest.records
    records[into, _X0] = min(records[into, _X0], records[gone, _X0])
    records[into, _Y0] = min(records[into, _Y0], records[gone, _Y0])
    records[into, _X1] = max(records[into, _X1], records[gone, _X1])
    records[into, _Y1] = max(records[into, _Y1], records[gone, _Y1])
    records[into, _AREA] += records[gone, _AREA]
    records[into, _EULER] += records[gone, _EULER]
    records[into, _FIRST] = min(records[into, _FIRST], records[gone, _FIRST])
    records[into, _KNOWN] = max(records[into, _KNOWN], records[gone, _KNOWN])
    forest.parents[gone] = into
    forest.counters[_LIVE] -= 1
    moved = forest.live[forest.counters[_LIVE]]
    forest.live[forest.slot[gone]], forest.slot[moved] = moved, forest.slot[gone]
    forest.dead[forest.counters[_DEAD]] = gone
    forest.counters[_DEAD] += 1


@compiled
def _add_pixels(forest: _Forest, value: int, step: int, cells: NDArray[np.int64]) -> None:
    """Add all pixels of one value; ``step`` is the width of the padded rows."""
    records, labels, parents, joins = forest.records, forest.labels, forest.parents, forest.joins
    for k in range(forest.starts[value], forest.starts[value - 1]):
        pixel = forest.order[k]
        x, y = pixel & 0xFFFF, pixel >> 16
        p = (y + 1) * step + x + 1
        mask = forest.masks[p]
        if joins[mask, 0] == 0:
            labels[p] = _bear(forest, x, y, pixel)
            continue
        c = _find(parents, labels[p + joins[mask, 0]])
        for g in range(1, 4):
            if joins[mask, g] == 0:
                break
            other = _find(parents, labels[p + joins[mask, g]])
            if other != c:
                _merge(forest, c, other)
        labels[p] = c
        records[c, _X0] = min(records[c, _X0], x)
        records[c, _Y0] = min(records[c, _Y0], y)
        records[c, _X1] = max(records[c, _X1], x)
        records[c, _Y1] = max(records[c, _Y1], y)
        records[c, _AREA] += cells[mask, 0]
        records[c, _EULER] += cells[mask, 1]
        records[c, _FIRST] = min(records[c, _FIRST], pixel)
        records[c, _TIGHT] = 0


@compiled
def _followed_area(image: NDArray[np.uint8], level: int, x0: int, y0: int) -> int:
    """Twice the area inside the outer border of the component whose first pixel in raster order is ``(x0, y0)``."""
    height, width = image.shape
    direction = 4
    while True:  # clockwise from the west for the pixel the border ends with
        direction = (direction - 1) & 7
        x, y = x0 + _DX[direction], y0 + _DY[direction]
        if 0 <= x < width and 0 <= y < height and image[y, x] > level:
            break
        if direction == 4:
            return 0
    last_x, last_y = x, y
    x, y, doubled = x0, y0, 0
    while True:
        while True:  # counter-clockwise for the next pixel
            direction = (direction + 1) & 7
            nx, ny = x + _DX[direction], y + _DY[direction]
            if 0 <= nx < width and 0 <= ny < height and image[ny, nx] > level:
                break
        doubled += x * ny - nx * y
        if nx == x0 and ny == y0 and x == last_x and y == last_y:
            return int(abs(doubled))
        x, y, direction = nx, ny, (direction + 4) & 7


@compiled
def _lower(records: NDArray[np.int32], c: int) -> int:
    """Lower bound of twice a component's contour area; exact without holes or where its border was followed."""
    if records[c, _EULER] == 4:
        return int(records[c, _AREA])
    if records[c, _TIGHT]:
        return int(records[c, _KNOWN])
    holes = 1 - records[c, _EULER] // 4
    return int(max(records[c, _AREA] + 4 * holes, records[c, _KNOWN]))


@compiled
def _upper(records: NDArray[np.int32], c: int) -> int:
    """Upper bound of twice a component's contour area."""
    if records[c, _EULER] == 4 or records[c, _TIGHT]:
        return _lower(records, c)
    return int(2 * (records[c, _X1] - records[c, _X0]) * (records[c, _Y1] - records[c, _Y0]))


@compiled
def _exact(image: NDArray[np.uint8], level: int, records: NDArray[np.int32], c: int) -> int:
    if _lower(records, c) < _upper(records, c):
        first = records[c, _FIRST]
        records[c, _KNOWN], records[c, _TIGHT] = _followed_area(image, level, first & 0xFFFF, first >> 16), 1
    return _lower(records, c)


@compiled
def _largest(image: NDArray[np.uint8], level: int, forest: _Forest) -> int:
    """The component with the largest contour area; of equals the one whose first pixel comes last."""
    records, live, n = forest.records, forest.live, forest.counters[_LIVE]
    bound = 0
    for k in range(n):
        bound = max(bound, _lower(records, live[k]))
    rivals = 0
    for k in range(n):
        if _upper(records, live[k]) >= bound:
            best = live[k]
            rivals += 1
    if rivals == 1:
        return int(best)
    best_area = -1
    for k in range(n):
        c = live[k]
        if _upper(records, c) < max(bound, best_area):
            continue
        area = _exact(image, level, records, c)
        if area > best_area or (area == best_area and records[c, _FIRST] > records[best, _FIRST]):
            best, best_area = c, area
    return int(best)


@compiled
def _largest_component_boxes(image: NDArray[np.uint8], forest: _Forest, cells: NDArray[np.int64]) -> NDArray[np.int16]:
    boxes = np.full((LEVELS, 4), -1, np.int16)
    for value in range(LEVELS - 1, 0, -1):
        _add_pixels(forest, value, image.shape[1] + 2, cells)
        forest.counters[_DEAD] = 0
        if forest.counters[_LIVE] > 0:
            best = _largest(image, value - 1, forest)
            for i in range(4):
                boxes[value - 1, i] = forest.records[best, i]
    return boxes


def largest_component_boxes(image: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Pixel box, ends included, of the largest component of ``image > level``: ``(256, 4)``; −1 where there is none."""
    image = np.ascontiguousarray(image)
    return _largest_component_boxes(image, _plant(image, 8), _CELLS)


@compiled
def _emit(
    boxes: NDArray[np.int16], spans: NDArray[np.int16], n: int, since: NDArray[np.int32], c: int, low: int
) -> int:
    """Note the box that a component had from level ``low`` up to where it was born or last grew, if at any level."""
    if since[c, 4] <= low:
        return n
    for i in range(4):
        boxes[n, i] = since[c, i]
    spans[n, 0], spans[n, 1] = low, since[c, 4] - 1
    return n + 1


@compiled
def _component_boxes(
    image: NDArray[np.uint8], forest: _Forest, cells: NDArray[np.int64]
) -> tuple[NDArray[np.int16], NDArray[np.int16], bool]:
    records, live, counters = forest.records, forest.live, forest.counters
    since = np.zeros((len(live), 5), np.int32)  # the box at the level before, and the value it was reached at
    room = image.size + len(live)  # a component's box changes with a pixel, and each component ends once
    boxes, spans, n = np.empty((room, 4), np.int16), np.empty((room, 2), np.int16), 0
    holes = False
    for value in range(LEVELS - 1, 0, -1):
        if forest.starts[value] == forest.starts[value - 1]:
            continue
        _add_pixels(forest, value, image.shape[1] + 2, cells)
        for k in range(counters[_DEAD]):
            n = _emit(boxes, spans, n, since, forest.dead[k], value)
        counters[_DEAD] = 0
        for k in range(counters[_LIVE]):
            c = live[k]
            holes |= records[c, _EULER] != 4
            same = since[c, 4] > 0
            for i in range(4):
                same &= since[c, i] == records[c, i]
            if not same:
                n = _emit(boxes, spans, n, since, c, value)
                for i in range(4):
                    since[c, i] = records[c, i]
                since[c, 4] = value
    for k in range(counters[_LIVE]):
        n = _emit(boxes, spans, n, since, live[k], 0)
    return boxes[:n].copy(), spans[:n].copy(), bool(holes)


def component_boxes(
    image: NDArray[np.uint8], connectivity: Literal[4, 8]
) -> tuple[NDArray[np.int16], NDArray[np.int16], bool]:
    """Pixel boxes, ends included, of every component of ``image > level``, with the levels each box holds at.

    Returns:
        ``(k, 4)`` boxes; ``(k, 2)`` lowest and highest level; at a level, every component has one row. Then whether
        any component has a hole at any level, which is known for connectivity 8 only.
    """
    image = np.ascontiguousarray(image)
    return _component_boxes(image, _plant(image, connectivity), _CELLS)
