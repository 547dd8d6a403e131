"""Your own images: a folder for each class, and nothing else that must be there.

Any of these, with images of any suffix, depth and name:

* ``ROOT/CLASS/IMAGE``: test, val and gate are set aside by prepare.test_fraction and so on;
* ``ROOT/{train,val,test}/CLASS/IMAGE``: a split that is there is kept, one that is missing is set aside from train;
* ``ROOT/labels.csv`` with columns ``path``, ``label`` and, where they are yours, ``split``.

Boxes and masks may lie beside them, for all images or for some: see :mod:`pipeline.data.truth_files`. Images are
turned as their orientation tags say, as viewers and annotation tools show them.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pipeline.data.lists import read_lines
from pipeline.data.source import NOT_READ, Problem, Sample, Source
from pipeline.data.tree import files_below, listed
from pipeline.data.truth_files import TRUTH_FOLDERS, add_truth
from pipeline.errors import DataError
from pipeline.params import PrepareParams

#: Folders that are splits rather than classes, as people name them.
SPLIT_FOLDERS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
    "testing": "test", "gate": "gate",
}  # fmt: skip
LABELS = "labels.csv"
#: Columns of ``labels.csv``, and other names that they go by.
COLUMNS = {"path": ("path", "file", "file_name", "filename", "image"), "label": ("label", "class", "category"),
           "split": ("split", "subset")}  # fmt: skip
#: First bytes of the formats that are read; of WebP those of its container.
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"BM", b"RIFF", b"GIF8", b"II*\0", b"MM\0*")
#: A file with such a name is meant to be an image, whatever it holds.
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".heic", ".avif")


@dataclass(frozen=True)
class _Labelled:
    """An image with its class and, where the folder says so, its split."""

    path: str
    label: str
    split: str = "train"


def check_layout(root: Path) -> None:
    """Raise DataError unless there are folders of classes, or a list of labels."""
    if not root.is_dir():
        raise DataError(f"prepare.root: {root.absolute()} is not a folder.")
    if not (root / LABELS).exists() and not _class_folders(root):
        raise DataError(
            f"prepare.root: {root.absolute()} has no folders. Put the images of each class into a folder with "
            f"its name, "
            f"or name the class of each image in {LABELS} (columns path,label)."
        )


def read_source(settings: PrepareParams, _folder: Path) -> Source:
    """Find the images with their classes, boxes and masks.

    Raises:
        DataError: the folder has another layout, or a list of labels cannot be understood; names the file and line.
    """
    root = Path(settings.root)
    check_layout(root)
    files = visible_files(root)
    listed_here = (root / LABELS).exists()
    labelled, problems = _listed_images(root, set(files)) if listed_here else _images_in_folders(root, files)
    classes = tuple(sorted({image.label for image in labelled}))
    index = {name: i for i, name in enumerate(classes)}
    samples = [Sample(one.path, one.path, one.split, (index[one.label],)) for one in labelled]
    if not samples:
        raise DataError(f"prepare.root: no image lies in the folders of {root.absolute()}.")
    samples, found = add_truth(root, files, samples, classes)
    return Source(root, classes, samples, upright=True, problems=(*problems, *found))


def visible_files(root: Path) -> list[str]:
    """All files below the root that no part of their path hides, relative to it."""
    return [name for name in files_below(root) if not any(part.startswith(".") for part in PurePosixPath(name).parts)]


def _class_folders(folder: Path) -> list[str]:
    names = (path.name for path in folder.iterdir() if path.is_dir())
    return sorted(name for name in names if not name.startswith(".") and name not in TRUTH_FOLDERS)


def _images_in_folders(root: Path, files: list[str]) -> tuple[list[_Labelled], list[Problem]]:
    """Images by the folder they lie in, in the order of their paths; other files are problems that harm nothing."""
    splits = _splits(root)
    labelled, problems = [], []
    for name in sorted(files):
        first, *inner = PurePosixPath(name).parts
        if not inner or first in TRUTH_FOLDERS:
            continue
        if len(inner) == 1 and splits:
            problems.append(Problem(name, f"not in a folder of a class, as {first}/CLASS/{inner[0]}", NOT_READ))
        elif _is_image(root / name):
            label, split = (inner[0], splits[first]) if splits else (first, "train")
            labelled.append(_Labelled(name, label, split))
        else:
            problems.append(Problem(name, "not an image", NOT_READ))
    return labelled, problems


def _splits(root: Path) -> Mapping[str, str]:
    """Split by the name of its folder; none where folders are classes.

    Raises:
        DataError: some folders are named as splits and others are not, or none is train.
    """
    names = _class_folders(root)
    splits = {name: SPLIT_FOLDERS[name.lower()] for name in names if name.lower() in SPLIT_FOLDERS}
    if not splits or ("train" not in splits.values() and len(splits) < len(names)):
        return {}  # a class may be called "test"
    if others := [name for name in names if name not in splits]:
        raise DataError(
            f"prepare.root: {root.absolute()} has folders of splits ({', '.join(splits)}) beside others "
            f"({', '.join(others[:5])}). Put every class into a split's folder, as train/{others[0]}, or "
            "take the splits out."
        )
    if "train" not in splits.values():
        raise DataError(f"prepare.root: {root.absolute()} has {', '.join(splits)}, but no folder train.")
    return splits


def _is_image(path: Path) -> bool:
    """Whether a file is an image, or is meant to be one: whatever it is called, and whatever it holds."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(8).startswith(MAGIC)
    except OSError:
        return True  # it is then named as an image that cannot be read


def _listed_images(root: Path, files: set[str]) -> tuple[list[_Labelled], list[Problem]]:
    """The images of ``labels.csv``, in its order; images that it does not name are not read."""
    labelled: dict[str, _Labelled] = {}
    wrong: list[str] = []
    for line, row in _rows(root / LABELS):
        image = _Labelled(str(PurePosixPath(row["path"])), row["label"], _split_name(row.get("split") or "train"))
        if image.split not in SPLIT_FOLDERS.values():
            wrong.append(f"line {line}: split {image.split!r} is not one of train, val, test, gate")
        elif not image.label:
            wrong.append(f"line {line}: {image.path} has no label")
        elif (known := labelled.get(image.path)) and known.label != image.label:
            wrong.append(f"line {line}: {image.path} is {image.label} and {known.label}: an image has one label")
        elif known:
            wrong.append(f"line {line}: {image.path} occurs for the second time")
        elif image.path not in files:
            wrong.append(f"line {line}: {image.path} does not exist")
        else:
            labelled[image.path] = image
    if wrong:
        raise DataError(f"{len(wrong)} lines of {root / LABELS} cannot be used:{listed(wrong)}\nMend them.")
    others = sorted(name for name in files - labelled.keys() if _is_image(root / name) and not _is_truth(name))
    return list(labelled.values()), [Problem(name, f"{LABELS} does not name it", NOT_READ) for name in others]


def _is_truth(name: str) -> bool:
    return PurePosixPath(name).parts[0] in TRUTH_FOLDERS


def _split_name(name: str) -> str:
    return SPLIT_FOLDERS.get(name.strip().lower(), name.strip())


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and values by column of every row of a table of labels."""
    lines = iter(read_lines(path))
    _, header = next(lines, (1, ""))
    titles = [title.strip().lower() for title in next(csv.reader([header]), [])]
    columns = {name: next((titles.index(t) for t in names if t in titles), None) for name, names in COLUMNS.items()}
    if columns["path"] is None or columns["label"] is None:
        raise DataError(f"{path}:1: the first line must name the columns path,label (and split), found {header!r}.")
    for number, line in lines:
        values = next(csv.reader([line]))
        if len(values) != len(titles):
            raise DataError(
                f"{path}:{number}: {len(values)} values for {len(titles)} columns; quote texts with commas."
            )
        yield number, {name: values[at].strip() for name, at in columns.items() if at is not None}
