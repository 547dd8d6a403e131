"""A table of boxes: a line each, with the image's path and either corners or a corner and a size, in pixels.

Columns go by their usual names, in any order; ``predictions.csv`` of ``python -m pipeline predict`` is such a table.
Beside corners, ``width`` and ``height`` are the image's.
"""

import csv
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from pipeline.data.annotations.record import Annotated, Flaws, LabelledBox, from_size, number
from pipeline.data.lists import read_lines
from pipeline.data.source import Box
from pipeline.errors import DataError

IMAGE = ("path", "image", "file_name", "filename", "file", "image_id", "image_path")
LABEL = ("label", "class", "category", "class_name", "name")
CORNERS = (("x0", "xmin", "x_min", "left", "x1"), ("y0", "ymin", "y_min", "top", "y1"),
           ("x1", "xmax", "x_max", "right", "x2"), ("y1", "ymax", "y_max", "bottom", "y2"))  # fmt: skip
SIZES = (("x", "xmin", "left", "x0"), ("y", "ymin", "top", "y0"), ("width", "w"), ("height", "h"))
FRAME = (("image_width", "width"), ("image_height", "height"))


def read(path: Path, _name: str) -> dict[str, Annotated]:
    """Boxes by the image's path; a line without numbers says that its image has none."""
    lines = read_lines(path)
    titles = [title.strip().lower() for title in next(csv.reader([next(lines, (1, ""))[1]]), [])]
    image, label = _column(titles, IMAGE), _column(titles, LABEL)
    places, by_corners = _places(titles)
    if image is None or not places:
        raise DataError(f"{path}:1: expected the columns path,x0,y0,x1,y1 or path,x,y,width,height, found {titles}.")
    frame = [_column(titles, names) if by_corners else None for names in FRAME]
    boxes: dict[str, list[LabelledBox]] = defaultdict(list)
    frames: dict[str, tuple[float, float] | None] = {}
    flaws = Flaws(path)
    for line, text in lines:
        with flaws.at(f"line {line}"):
            # A name may begin or end with blanks.
            row = {i: value if i == image else value.strip() for i, value in enumerate(next(csv.reader([text])))}
            if len(row) != len(titles):
                raise ValueError(f"{len(row)} values for {len(titles)} columns; quote texts with commas")
            found = boxes[row[image]]
            frames[row[image]] = _frame(row, frame)
            if any(row[place] for place in places):
                found.append(LabelledBox(_box(row, places, by_corners), row[label] if label is not None else None))
    flaws.refuse()
    return {name: Annotated(tuple(found), frames[name]) for name, found in boxes.items()}


def _column(titles: list[str], names: tuple[str, ...]) -> int | None:
    return next((titles.index(name) for name in names if name in titles), None)


def _places(titles: list[str]) -> tuple[list[int], bool]:
    """Columns of the four numbers, and whether they are corners; none where some are missing."""
    # x1 is a first corner beside x2, and a second one beside x0.
    second = "x2" in titles
    corners = [_column(titles, tuple(n for n in names if second or not (n[1:] == "1" and i < 2)))
               for i, names in enumerate(CORNERS)]  # fmt: skip
    if second:
        corners[2:] = [_column(titles, names) for names in (("x2",), ("y2",))]
    for columns, by_corners in ((corners, True), ([_column(titles, names) for names in SIZES], False)):
        if None not in columns and len(set(columns)) == 4:
            return [column for column in columns if column is not None], by_corners
    return [], False


def _box(row: Mapping[int, str], places: list[int], by_corners: bool) -> Box:
    a, b, c, d = (number(row[place]) for place in places)
    return (a, b, c, d) if by_corners else from_size(a, b, c, d)


def _frame(row: Mapping[int, str], columns: list[int | None]) -> tuple[float, float] | None:
    values = [row[column] for column in columns if column is not None]
    return (number(values[0]), number(values[1])) if len(values) == 2 and all(values) else None
