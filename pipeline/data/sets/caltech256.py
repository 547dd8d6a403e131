"""Caltech-256 in its official layout (Griffin et al., "Caltech-256 object category dataset", CNS-TR-2007-001).

``ROOT/NNN.name/NNN_KKKK.jpg``, the folder ``256_ObjectCategories``. It has neither boxes nor a split: test is set
aside by ``prepare.test_fraction``, and classification is what can be measured. ``257.clutter`` is not a class; what
is called otherwise than its folder's images, as ``198.spider/RENAME2``, is not read.
"""

import re
from pathlib import Path

from pipeline.data.source import NOT_READ, Problem, Sample, Source
from pipeline.errors import DataError
from pipeline.params import PrepareParams

#: Without the 827 of the clutter.
_PUBLISHED = {"train": 29780}
_CLUTTER = "257.clutter"


def check_layout(root: Path) -> None:
    """Raise DataError unless ``root`` looks like the data set."""
    if not root.is_dir() or not _folders(root):
        raise DataError(
            f"prepare.root: {root.absolute()} has no folders as 001.ak47. It must be the folder "
            "256_ObjectCategories of the official archive, https://data.caltech.edu/records/nyy15-4j048."
        )


def read_source(settings: PrepareParams, _folder: Path) -> Source:
    """List the images; none is opened.

    Raises:
        DataError: there are no folders of classes.
    """
    root = Path(settings.root)
    check_layout(root)
    samples, problems = [], []
    folders = _folders(root)
    for label, folder in enumerate(folders):
        for path in sorted(folder.iterdir()):
            name = f"{folder.name}/{path.name}"
            if re.fullmatch(rf"{folder.name[:3]}_\d{{4}}\.jpg", path.name):
                samples.append(Sample(path.stem, name, "train", (label,)))
            else:
                problems.append(Problem(name, f"not called as an image of {folder.name}", NOT_READ))
    classes = tuple(folder.name.partition(".")[2] for folder in folders)
    return Source(root, classes, samples, problems=tuple(problems), published=_PUBLISHED)


def _folders(root: Path) -> list[Path]:
    found = (path for path in root.iterdir() if re.match(r"\d{3}\.", path.name) and path.is_dir())
    return sorted(path for path in found if path.name != _CLUTTER)
