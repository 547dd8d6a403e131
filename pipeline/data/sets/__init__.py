"""One module for each data set that `prepare` reads, found by its name, which is the choice of `prepare.dataset`."""

from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from pipeline.data.source import Source
from pipeline.params import PrepareParams


class RawDataset(Protocol):
    """What a module in this folder offers; its docstring says how the data set lies on the disk.

    One whose images may have several labels says so by ``SEVERAL_LABELS = True``.
    """

    def check_layout(self, root: Path) -> None:
        """Look at names alone: quick enough to be done before every run.

        Raises:
            DataError: ``root`` is not this data set; says what is missing.
        """

    def read_source(self, settings: PrepareParams, folder: Path) -> Source:
        """Read all annotations; images are opened by whoever called.

        Args:
            settings: ``root`` is where the raw data lies; ``seed`` is for what is drawn or split here.
            folder: where images that do not exist yet may be drawn; they will lie in ``data/labelled``.

        Raises:
            DataError: an annotation cannot be understood; names the file and the line.
        """


def find_dataset(name: str) -> RawDataset:
    """The data set of that name, one of :data:`pipeline.params.DATASETS`."""
    return cast(RawDataset, import_module(f"{__name__}.{name}"))
