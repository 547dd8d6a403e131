"""What all formats are read into, and what their readers share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from pipeline.data.source import Box
from pipeline.data.tree import listed
from pipeline.errors import DataError, reason
from pipeline.schemas import parse_json

#: Bytes of a file: far more than annotations of a million images need.
MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class LabelledBox:
    """A box ``xyxy``; the label is None where the format gives none, difficult where it calls the object so."""

    xyxy: Box
    label: str | None = None
    difficult: bool = False


@dataclass(frozen=True)
class Annotated:
    """The boxes of one image, and the width and height that they refer to: ``(1, 1)`` where they are shares of it.

    Without a frame it is not stated what they refer to: they are in pixels of the image. ``by_people`` is false where
    the file itself says that they are a model's, and that nobody has answered yet.
    """

    boxes: tuple[LabelledBox, ...]
    frame: tuple[float, float] | None = None
    by_people: bool = True


def from_size(x: float, y: float, width: float, height: float) -> Box:
    """Corners of a box that is given by its first corner and its size."""
    return x, y, x + width, y + height


class Flaws:
    """Everything that is wrong with a file, said at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._flaws: list[str] = []

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """What fails here is noted with its place, and the next entry is read."""
        try:
            yield
        except (ValueError, TypeError, KeyError, DataError) as error:
            self._flaws.append(f"{place}: {reason(error)}")

    def refuse(self) -> None:
        """Raise DataError where something was wrong."""
        if self._flaws:
            raise DataError(
                f"{len(self._flaws)} entries of {self._path} cannot be used:{listed(self._flaws)}\nMend them or "
                f"take them out."
            )


def content(path: Path) -> bytes:
    """The bytes of a file of annotations.

    Raises:
        DataError: it cannot be read, or is far too large.
    """
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise DataError(f"{path} has {size:,} bytes; annotations may have {MAX_BYTES:,}.")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from None


def parse(path: Path, schema: Any, what: str) -> Any:
    """The content of a JSON file as a schema has it.

    Raises:
        DataError: it has not.
    """
    try:
        return parse_json(content(path), schema)
    except ValueError as error:
        raise DataError(f"{path} is not {what}: {reason(error)}.") from None


def parse_xml(path: Path) -> ElementTree.Element:
    """The root of an XML file.

    Raises:
        DataError: it is not XML, or declares a document type, whose entities could grow without bounds.
    """
    data = content(path)
    # In UTF-16 the declaration would not be seen.
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"<!DOCTYPE" in data or b"<!ENTITY" in data or b"\0" in data:
        raise DataError(f"{path} declares a document type, or is not UTF-8; no annotation needs the former.")
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise DataError(f"{path} cannot be read as XML: {reason(error)}.") from None


def number(text: str | None) -> float:
    """A number of a text; ValueError says what stood there."""
    try:
        return float(text or "")
    except ValueError:
        raise ValueError(f"expected a number, found {(text or '')[:40]!r}") from None
