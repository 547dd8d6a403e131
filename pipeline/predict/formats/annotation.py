"""The record that all formats are made from.

Boxes are ``xyxy`` floats in pixels of the stored image, half open: a box from 0 to the width covers every column.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class AnnotatedBox:
    """A box of a class; the score is None where a format, or a person, gives none."""

    xyxy: Corners
    label: str
    score: float | None = None


@dataclass(frozen=True)
class AnnotatedImage:
    """An image by its path below the folder that all images share, with its size in pixels and its boxes."""

    path: str
    width: int
    height: int
    boxes: list[AnnotatedBox] = field(default_factory=list)


Images = Callable[[], Iterable[AnnotatedImage]]


def file_names(paths: Sequence[str]) -> list[str]:
    """Paths relative to the folder that all of them share, with ``/``; addresses stay as they are."""
    local = [os.path.abspath(path) for path in paths if "://" not in path]  # noqa: PTH100
    shared = os.path.commonpath([str(Path(path).parent) for path in local]) if local else ""
    relative = iter(Path(path).relative_to(shared).as_posix() for path in local)
    return [path if "://" in path else next(relative) for path in paths]


def xml_text(root: ElementTree.Element) -> bytes:
    """An XML file of a root."""
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def printable(text: str) -> str:
    """A text without the characters that XML cannot hold."""
    return "".join(sign if sign >= " " and not "\ud800" <= sign <= "\udfff" and sign not in "\ufffe\uffff" else "\ufffd"
                   for sign in text)  # fmt: skip
