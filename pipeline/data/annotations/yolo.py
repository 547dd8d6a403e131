"""YOLO's labels: ``labels/NAME.txt`` with a line for each box, in shares of the image's width and height.

``class x-centre y-centre width height``, perhaps with a confidence; or ``class x y x y x y …``, the outline of an
object, whose extent is the box. What the numbers of classes mean stands in ``data.yaml``, ``classes.txt`` or
``obj.names``, beside the labels or above them.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import yaml

from pipeline.data.annotations.record import Annotated, Flaws, LabelledBox, content, number
from pipeline.data.lists import read_lines
from pipeline.data.source import Box
from pipeline.errors import DataError, reason

#: A box with its class, and with a confidence too.
BOX = (5, 6)


def read(path: Path, name: str) -> dict[str, Annotated]:
    """Boxes of one image, by the name of the file without its suffix."""
    names = _names(path.parent)
    flaws = Flaws(path)
    boxes = []
    for line, text in read_lines(path):
        with flaws.at(f"line {line}"):
            label, *values = text.split()
            boxes.append(
                LabelledBox(_box([number(value) for value in values]), names.get(label, None if names else label))
            )
    flaws.refuse()
    return {name: Annotated(tuple(boxes), (1.0, 1.0))}


def _box(values: list[float]) -> Box:
    if len(values) + 1 in BOX:
        x, y, width, height = values[:4]
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if len(values) >= 6 and len(values) % 2 == 0:
        xs, ys = values[::2], values[1::2]
        return min(xs), min(ys), max(xs), max(ys)
    raise ValueError(f"expected class x y width height, found {len(values) + 1} values")


@lru_cache(maxsize=64)
def _names(folder: Path) -> Mapping[str, str]:
    """Names of classes by their number as a text; those of the nearest folder that has them, at most three above."""
    for place in (folder, *list(folder.parents)[:3]):
        for file in (place / "classes.txt", place / "obj.names"):
            if file.is_file():
                return {str(i): name.strip() for i, (_, name) in enumerate(read_lines(file))}
        if (file := place / "data.yaml").is_file():
            return _names_of_yaml(file)
    return {}


def _names_of_yaml(path: Path) -> Mapping[str, str]:
    try:
        tree = yaml.safe_load(content(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not YAML: {reason(error)}.") from None
    names = tree.get("names") if isinstance(tree, dict) else None
    if isinstance(names, list):
        return {str(i): str(name) for i, name in enumerate(names)}
    if isinstance(names, dict):
        return {str(key): str(name) for key, name in names.items()}
    raise DataError(f"{path}: names, a list of the classes, is missing.")
