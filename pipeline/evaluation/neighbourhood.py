"""The order in which a sweep adds pixels, and what each of them changes.

What a pixel changes depends on which of its eight neighbours are there already: on a mask of eight bits, hence tables
of 256 rows. Cells: Gray, "Local properties of binary images in two dimensions", IEEE Trans. Computers 1971.
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.compiled import compiled

LEVELS = 256
#: Neighbours counter-clockwise from the east, as (dx, dy); bit ``i`` of a neighbour mask stands for entry ``i``.
NEIGHBOURS = ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))


def _touching(i: int, j: int, connectivity: int) -> bool:
    dx, dy = (abs(a - b) for a, b in zip(NEIGHBOURS[i], NEIGHBOURS[j], strict=True))
    return max(dx, dy) == 1 if connectivity == 8 else dx + dy == 1


def _groups(mask: int, connectivity: int) -> list[int]:
    """One neighbour of each group that is connected within the ring and touches the centre."""
    left = {i for i in range(8) if mask >> i & 1}
    found = []
    while left:
        stack = [min(left)]
        group = set(stack)
        while stack:
            i = stack.pop()
            near = {j for j in left - group if _touching(i, j, connectivity)}
            group |= near
            stack += near
        left -= group
        touching_centre = [i for i in sorted(group) if connectivity == 8 or i % 2 == 0]
        found += touching_centre[:1]
    return found


def group_table(connectivity: int) -> NDArray[np.int64]:
    """``(256, 4, 2)``: for each mask the (dx, dy) of one neighbour of each group to join, zeros where there is none."""
    table = np.zeros((256, 4, 2), np.int64)
    for mask in range(256):
        for k, neighbour in enumerate(_groups(mask, connectivity)):
            table[mask, k] = NEIGHBOURS[neighbour]
    return table


def cell_table() -> NDArray[np.int64]:
    """Row ``mask``: change of twice the area and of four times the Euler number when the centre is added."""
    table = np.zeros((256, 2), np.int64)
    for mask in range(256):
        for corner in (1, 3, 5, 7):
            before = [mask >> (i % 8) & 1 for i in (corner - 1, corner, corner + 1)]
            table[mask] += np.array(_cell([*before, 1])) - np.array(_cell([*before, 0]))
    return table


def _cell(pixels: list[int]) -> tuple[int, int]:
    """Twice the area and four times the Euler number (8-connected) of a 2×2 cell, its pixels in cyclic order."""
    count = sum(pixels)
    diagonal = count == 2 and pixels[0] == pixels[2]
    return max(count - 2, 0), {1: 1, 3: -1}.get(count, -2 if diagonal else 0)


@compiled
def neighbour_masks(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``(H+2, W+2)``: the neighbours added before each pixel, one bit each; the frame is zero."""
    height, width = image.shape
    padded = np.full((height + 2, width + 2), -1, np.int16)
    padded[1:-1, 1:-1] = image
    masks = np.zeros((height + 2, width + 2), np.uint8)
    for y in range(1, height + 1):
        for x in range(1, width + 1):
            v = padded[y, x]
            # Raster order among equals: the four neighbours above and to the left come first.
            masks[y, x] = (
                np.uint8(padded[y, x + 1] > v)
                | np.uint8(padded[y - 1, x + 1] >= v) << 1
                | np.uint8(padded[y - 1, x] >= v) << 2
                | np.uint8(padded[y - 1, x - 1] >= v) << 3
                | np.uint8(padded[y, x - 1] >= v) << 4
                | np.uint8(padded[y + 1, x - 1] > v) << 5
                | np.uint8(padded[y + 1, x] > v) << 6
                | np.uint8(padded[y + 1, x + 1] > v) << 7
            )
    return masks


@compiled
def by_level(image: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Counting sort: where each value's pixels begin, falling, and the pixels as ``y << 16 | x``; zeros left out."""
    height, width = image.shape
    counts = np.zeros(LEVELS + 1, np.int64)
    for y in range(height):
        for x in range(width):
            counts[image[y, x]] += 1
    starts = np.zeros(LEVELS + 1, np.int64)  # starts[v] … starts[v−1]: the pixels of value v
    for v in range(LEVELS - 1, 0, -1):
        starts[v - 1] = starts[v] + counts[v]
    order = np.empty(starts[0], np.int32)
    place = starts.copy()
    for y in range(height):
        for x in range(width):
            v = image[y, x]
            if v > 0:
                order[place[v]] = y << 16 | x
                place[v] += 1
    return starts, order
