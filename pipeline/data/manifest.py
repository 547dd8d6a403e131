"""The manifest: one table that every data set becomes. No code after ``prepare`` knows which data set it was."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.data.masks import Masks, MaskValues
from pipeline.errors import DataError, UserError
from pipeline.files import EVALUATED_SPLITS, PREPARED, content, read_json, reading, write_json, write_parquet
from pipeline.schemas import MANIFEST, OF_SEVERAL, DatasetFacts, parse_table

#: Columns of ``manifest.parquet``, one row per image. Paths are relative to the image root; boxes are a list of
#: ``[x0, y0, x1, y1]`` in pixels of the original image, masks a list of paths; the other mask paths may be null. Where
#: images may have several labels, ``box_labels`` has the class of each box, and ``uncertain`` the classes that an image
#: is neither known to show nor not to show, such as those whose objects are all difficult.
COLUMNS = tuple(MANIFEST)
SPLITS = ("train", *EVALUATED_SPLITS)


@dataclass(frozen=True)
class ImageRow:
    """One image of the manifest; boxes ``(m, 4)`` in its own pixels, paths relative to the image root."""

    path: str
    labels: list[int]
    width: int
    height: int
    boxes: NDArray[np.float64]
    masks: Masks
    box_labels: tuple[int, ...] = ()

    def boxes_of(self, label: int) -> NDArray[np.float64]:
        """``(m, 4)``, of one class, where boxes have classes of their own."""
        return np.asarray(self.boxes[np.array(self.box_labels, np.int64) == label])

    def shows(self, classes: int) -> NDArray[np.bool_]:
        """``(classes,)``: which it has as labels."""
        return np.isin(np.arange(classes), self.labels)


@dataclass(frozen=True)
class Dataset:
    """A manifest with what belongs to it.

    Attributes:
        rows: one row per image, ordered by ``image_id``, with the columns of :data:`COLUMNS`.
        classes: class names; a label is an index into them.
        root: folder that the paths are relative to.
        content_hash: of all image files, masks and boxes.
        equal_images: images of the same content in several splits or with several labels, counted and named.
        mask_values: what the values in mask files mean.
        upright: images are turned as their orientation tag says; sizes and boxes are those of the turned ones.
        several_labels: an image may have several labels, or none.
    """

    rows: pd.DataFrame
    classes: tuple[str, ...]
    root: Path
    content_hash: str
    equal_images: Mapping[str, Any] = field(default_factory=dict)
    upright: bool = False
    mask_values: MaskValues = field(default_factory=MaskValues)
    several_labels: bool = False

    def split(self, name: str) -> pd.DataFrame:
        """The rows of one split, in the manifest's order."""
        return self.rows[self.rows["split"] == name].reset_index(drop=True)

    def paths(self, split: str) -> list[Path]:
        """The image files of one split, in the manifest's order."""
        return [self.root / path for path in self.split(split)["path"]]

    def labels(self, split: str) -> NDArray[np.int64]:
        """``(n,)``, each image's label; where it may have several ``(n, C)``: 1 present, 0 not, -1 uncertain."""
        rows = self.split(split)
        if not self.several_labels:
            return np.array([labels[0] for labels in rows["labels"]], np.int64)
        found = np.zeros((len(rows), len(self.classes)), np.int64)
        for row, present, uncertain in zip(found, rows["labels"], rows["uncertain"], strict=True):
            row[list(uncertain)] = -1
            row[list(present)] = 1
        return found

    @property
    def evaluated(self) -> tuple[str, ...]:
        """The splits to score: those of :data:`EVALUATED_SPLITS` that have images."""
        return tuple(split for split in EVALUATED_SPLITS if (self.rows["split"] == split).any())

    def images(self, split: str) -> dict[str, ImageRow]:
        """The images of one split by id, in the manifest's order."""
        return {row["image_id"]: _image_row(row) for _, row in self.split(split).iterrows()}


def labels_only(dataset: Dataset, content_hash: str) -> Dataset:
    """The same images with their labels and without boxes and masks.

    Args:
        content_hash: of the image files alone.
    """
    nothing: pd.Series[Any] = pd.Series([[] for _ in range(len(dataset.rows))], dataset.rows.index, dtype=object)
    rows = dataset.rows.assign(boxes=nothing, masks=nothing, ignore_mask=None, part_mask=None)
    if dataset.several_labels:
        rows = rows.assign(box_labels=nothing)
    return replace(dataset, rows=rows, content_hash=content_hash, mask_values=MaskValues())


def write_dataset(dataset: Dataset, folder: Path) -> None:
    """Write ``manifest.parquet`` and ``dataset.json`` into a folder."""
    several = dataset.several_labels
    write_parquet(folder / "manifest.parquet", dataset.rows[[*COLUMNS, *(OF_SEVERAL if several else ())]])
    values = asdict(dataset.mask_values)
    facts: Mapping[str, Any] = {
        "classes": list(dataset.classes),
        "root": dataset.root.as_posix(),
        "content_hash": dataset.content_hash,
        "equal_images": dataset.equal_images,
        "upright": dataset.upright,
        # What is only of sets with several labels stands in theirs only: the bytes of others stay what they were.
        "mask_values": {name: found for name, found in values.items() if several or name != "classes"},
        **({"several_labels": True} if several else {}),
        "images": {split: int((dataset.rows["split"] == split).sum()) for split in SPLITS},
    }
    write_json(folder / "dataset.json", facts)


def read_dataset(folder: Path = PREPARED, root: Path | None = None, read: Callable[[Path], bytes] = content) -> Dataset:
    """Read what ``prepare`` wrote.

    Args:
        root: in place of the image root that was noted.
        read: gives a file's content, as :meth:`pipeline.records.Inputs.read` does, which verifies it.

    Raises:
        UserError: the files are not there, are damaged, or do not hold what they should.
        DataError: the image root named in them is not there.
    """
    facts = read_facts(folder, read)
    with reading(folder / "manifest.parquet"):
        columns = {**MANIFEST, **(OF_SEVERAL if facts.several_labels else {})}
        rows = parse_table(read(folder / "manifest.parquet"), columns)
    root = root or Path(facts.root)
    if not root.is_dir():
        raise DataError(
            f"image root {root.absolute()} does not exist; restore it, or set prepare.root and run prepare."
        )
    return Dataset(
        rows,
        tuple(facts.classes),
        root,
        facts.content_hash,
        facts.equal_images,
        facts.upright,
        MaskValues(*(tuple(getattr(facts.mask_values, name)) for name in ("objects", "ignored", "classes"))),
        facts.several_labels,
    )


def read_facts(folder: Path = PREPARED, read: Callable[[Path], bytes] = content) -> DatasetFacts:
    """What ``prepare`` noted of the data set as a whole; see :func:`read_dataset`."""
    facts: DatasetFacts = read_json(folder / "dataset.json", DatasetFacts, read)
    return facts


def in_manifest_order(dataset: Dataset, split: str, shards: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Pass on the shards of a split whose ``image_ids`` are its images, in order.

    Raises:
        UserError: they are those of another manifest.
    """
    expected = dataset.split(split)["image_id"].to_numpy(dtype=str)
    start = 0
    for shard in shards:
        end = start + len(shard["image_ids"])
        if not np.array_equal(shard["image_ids"], expected[start:end]):
            break
        yield shard
        start = end
    if start != len(expected):
        raise UserError(
            f"the maps or boxes of {split} belong to another manifest. Run `python -m pipeline repro`, or by hand "
            "extract_cams and localize again."
        )


def _image_row(row: "pd.Series[Any]") -> ImageRow:
    return ImageRow(
        path=row["path"],
        labels=[int(label) for label in row["labels"]],
        width=row["width"],
        height=row["height"],
        boxes=np.array([list(box) for box in row["boxes"]], np.float64).reshape(-1, 4),
        # Parquet gives missing texts back as NaN.
        masks=Masks(
            tuple(row["masks"]), *(row[k] if isinstance(row[k], str) else None for k in ("ignore_mask", "part_mask"))
        ),
        box_labels=tuple(int(label) for label in row.get("box_labels", ())),
    )
