"""Boxes in the formats of annotation tools; one module reads each format. None opens an image.

A reader gives the boxes by the image's name, as the file has it, with what they refer to; whose they are is found by
:func:`pipeline.data.truth_files.match`. What they hold is checked against the image later.
"""

from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from pipeline.data.annotations.record import Annotated, LabelledBox
from pipeline.errors import DataError

__all__ = ["Annotated", "LabelledBox", "read_annotations"]

#: Reader by the end of a file's name; of JSON and XML the content decides.
READERS = {".csv": "table", ".jsonl": "imagefolder", ".json": "json_files", ".xml": "xml_files", ".txt": "yolo"}
#: Beside labels, in the same folder: what the numbers of classes mean.
NAMES = ("classes.txt", "obj.names", "notes.json", "data.yaml", "README.txt")


class Reader(Protocol):
    """The module of a format."""

    def read(self, path: Path, name: str) -> dict[str, Annotated]:
        """Boxes of a file by the name of their image; ``name`` is the file's below the folder, no suffix."""


def read_annotations(path: Path) -> dict[str, Annotated]:
    """The boxes of a file, or of all files of a folder, by the name of their image.

    Raises:
        DataError: nothing here is a known format, or an entry cannot be understood; the first ten are named.
    """
    if not path.is_dir():
        return _reader(path).read(path, path.stem)
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    named: dict[str, Annotated] = {}
    for file in (file for file in files if file.suffix.lower() in READERS and file.name not in NAMES):
        found = _reader(file).read(file, file.relative_to(path).with_suffix("").as_posix())
        if twice := sorted(named.keys() & found.keys()):
            raise DataError(f"{file}: {twice[0]} has boxes in another file of {path} too; keep one of them.")
        named |= found
    return named


def _reader(path: Path) -> Reader:
    name = READERS.get(path.suffix.lower())
    if name is None:
        raise DataError(f"{path}: boxes are read from {', '.join(READERS)} files.")
    return cast(Reader, import_module(f"{__name__}.{name}"))
