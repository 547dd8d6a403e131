"""From what a user names to a list of images: files, folders, globs, lists, addresses, stdin."""

import csv
import glob
import io
import os
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TextIO

from pipeline.data.lists import read_lines
from pipeline.data.manifest import read_dataset
from pipeline.errors import UserError
from pipeline.files import LABELLED
from pipeline.records import Inputs

SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"})
LISTS = frozenset({".txt", ".csv"})
#: Names of the column that holds the images; a table without a header has them in its first column.
_COLUMNS = ("source", "path", "image", "file", "file_name", "filename")
_ADDRESS = ("http://", "https://")


@dataclass(frozen=True)
class Source:
    """One image to predict.

    Attributes:
        place: path or address, as it is opened and reported.
        label: class name it was given with; empty where none is known.
    """

    place: str
    label: str = ""

    @property
    def is_address(self) -> bool:
        """Whether it is fetched."""
        return is_address(self.place)

    @property
    def name(self) -> str:
        """The file's own name, without folders."""
        return Path(self.place.split("?")[0].rstrip("/") if self.is_address else self.place).name


def is_address(text: str) -> bool:
    """Whether a text is an address on the web."""
    return text.lower().startswith(_ADDRESS)


def find_sources(names: Sequence[str], classes: Sequence[str], stdin: TextIO | None = None) -> list[Source]:
    """The images that names stand for, in their order; of a folder, sorted by path.

    Args:
        names: a file, a folder (searched with all below it), a glob (``**`` for all folders below), a ``.txt`` or
            ``.csv`` list (relative entries count from its folder; the column may be called source, path or image, and
            ``label`` is a class), an address, or ``-`` for a list on stdin.
        classes: of the model: a folder of that name labels its images.

    Raises:
        UserError: a list cannot be read, or there is no image at all.
    """
    sources = [source for name in names for source in _of(name, stdin or sys.stdin)]
    if not sources:
        raise UserError(
            f"no image in {', '.join(names)}: files that end in {', '.join(sorted(SUFFIXES))} are looked for."
        )
    known = set(classes)
    return [source if source.label else _labelled(source, known) for source in sources]


def split_sources(split: str) -> list[Source]:
    """The images of a split of the data set in this folder, with their labels.

    Raises:
        UserError: ``prepare`` has not run, what it wrote was changed, or the split has no image.
    """
    dataset = read_dataset(LABELLED, read=Inputs(LABELLED).read)
    sources = [
        Source(str(path), dataset.classes[labels[0]])
        for path, labels in zip(dataset.paths(split), dataset.split(split)["labels"], strict=True)
    ]
    if not sources:
        raise UserError(f"--split: the data set here has no image in {split}.")
    return sources


def drawn(sources: Sequence[Source], count: int | None) -> list[Source]:
    """So many of the sources, the same ones in every run, in their order; all where there is no count."""
    chosen = range(len(sources)) if count is None else random.Random(0).sample(range(len(sources)), len(sources))
    return [sources[i] for i in sorted(chosen[:count])]


def _labelled(source: Source, classes: set[str]) -> Source:
    parent = "" if source.is_address else Path(source.place).parent.name
    return Source(source.place, parent if parent in classes else "")


def _of(name: str, stdin: TextIO) -> Iterator[Source]:
    path = Path(name)
    if name == "-":
        yield from (Source(line.rstrip("\r\n")) for line in stdin if line.strip())
    elif is_address(name):
        yield Source(name)
    elif path.is_dir():
        yield from (Source(str(file)) for file in _images_below(path))
    elif path.suffix.lower() in LISTS and path.exists():
        yield from _of_list(path)
    elif not path.exists() and any(sign in name for sign in "*?["):
        files = sorted(glob.glob(name, recursive=True))  # noqa: PTH207
        yield from (Source(file) for file in files if Path(file).is_file() and Path(file).suffix.lower() in SUFFIXES)
    else:
        yield Source(name)


def _images_below(folder: Path) -> list[Path]:
    places = os.walk(folder, onerror=_refuse)
    paths = (Path(place, name) for place, _, names in places for name in names)
    files = (path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in files if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _refuse(error: OSError) -> NoReturn:
    """A folder that cannot be read would be left out without a word."""
    raise error


def _of_list(path: Path) -> Iterator[Source]:
    lines = [line for _, line in read_lines(path)]
    if path.suffix.lower() == ".txt":
        yield from (Source(_from(path.parent, line)) for line in lines)
        return
    rows = list(csv.reader(io.StringIO("\n".join(lines))))
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    column = next((header.index(name) for name in _COLUMNS if name in header), None)
    label = header.index("label") if column is not None and "label" in header else None
    for row in rows if column is None else rows[1:]:
        if len(row) > (column or 0) and (entry := row[column or 0]):
            yield Source(_from(path.parent, entry), row[label] if label is not None and len(row) > label else "")


def _from(folder: Path, entry: str) -> str:
    return entry if is_address(entry) else str(folder / entry)
