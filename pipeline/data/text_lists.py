"""The field's text files of ids, labels, sizes, boxes and masks.

They are those of Choe et al., "Evaluating weakly supervised object localization methods right", CVPR 2020:
``image_ids.txt`` (an image id per line), ``class_labels.txt`` (``id,label``, labels from 0), ``image_sizes.txt``
(``id,width,height``; boxes only) and ``localization.txt``: ``id,x0,y0,x1,y1``, a line per box, or ``id,mask,ignore``,
a line per instance mask, the ignore mask on an image's first line only.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.data.lists import read_lines
from pipeline.data.masks import Masks, MaskValues
from pipeline.data.names import path_flaw, similar
from pipeline.errors import DataError, UserError

#: How many offenders a message names; all of them are counted.
NAMED = 10
#: Above any side of an image, and far below where the conversion to integers would overflow.
_MOST_PIXELS = 1e9
#: A box may reach this many pixels over the image's edge: annotations are rounded, and count from 0 or from 1.
TOLERANCE = 1.0


def some(items: Sequence[str]) -> str:
    """The first ten of a list, and that there are more."""
    more = f", … ({len(items) - NAMED} more)" if len(items) > NAMED else ""
    return ", ".join(items[:NAMED]) + more


@dataclass(frozen=True)
class BoxTruth:
    """True boxes of N images, M in all.

    Attributes:
        image_ids: N ids.
        sizes: ``(N, 2)`` width and height in pixels.
        boxes: ``(M, 4)`` xyxy in pixels of the image, image by image.
        starts: ``(N+1,)``, where each image's boxes begin.
    """

    image_ids: list[str]
    sizes: NDArray[np.float64]
    boxes: NDArray[np.float64]
    starts: NDArray[np.int64]

    def of(self, index: int) -> NDArray[np.float64]:
        """Boxes ``(m, 4)`` of one image."""
        return self.boxes[self.starts[index] : self.starts[index + 1]]


@dataclass(frozen=True)
class MaskTruth:
    """Masks of N images, as files.

    Attributes:
        image_ids: N ids.
        root: what the masks' paths are relative to.
        masks: for each image.
        values: what the values in them mean.
    """

    image_ids: list[str]
    root: Path
    masks: list[Masks]
    values: MaskValues

    def check_files(self) -> None:
        """Raise a DataError that counts the masks that do not exist."""
        paths = {self.root / path for masks in self.masks for path in masks.paths}
        missing = sorted(str(path) for path in paths if not path.is_file())
        if missing:
            raise DataError(
                f"{len(missing)} of {len(paths)} masks do not exist: {some(missing)}. "
                "Name the folder their paths are relative to with --mask-root."
            )


def _rows(path: Path, columns: str) -> Iterator[tuple[str, list[str]]]:
    """``(where, fields)`` of each line; an id may hold commas and blanks."""
    if not path.exists():
        raise UserError(
            f"{path} does not exist. Take a folder with image_ids.txt, image_sizes.txt (boxes) and localization.txt, "
            "or with the manifest.parquet that `prepare` wrote."
        )
    width = columns.count(",")
    for number, line in read_lines(path):
        image_id, *values = line.rsplit(",", width)
        if len(values) != width:
            hint = " Masks are scored with --metric masks." if width == 4 and len(values) == 2 else ""
            raise DataError(f"{path}, line {number}: expected {columns}, found {line!r}.{hint}")
        yield f"{path}, line {number}", [image_id, *values]


def _numbers(where: str, fields: Sequence[str]) -> list[float]:
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        raise DataError(f"{where}: expected numbers, found {', '.join(fields)}") from None
    if not (np.abs(numbers) < _MOST_PIXELS).all():
        raise DataError(f"{where}: expected numbers of pixels, found {', '.join(fields)}")
    return numbers


def read_ids(folder: Path) -> dict[str, int]:
    """Image ids and their positions."""
    positions: dict[str, int] = {}
    for where, (image_id,) in _rows(folder / "image_ids.txt", "id"):
        if positions.setdefault(image_id, len(positions)) != len(positions) - 1:
            raise DataError(f"{where}: {image_id} is listed twice")
    if not positions:
        raise DataError(f"{folder / 'image_ids.txt'} lists no image")
    return positions


def _require_all(path: Path, positions: dict[str, int], seen: NDArray[np.bool_], unlisted: Collection[str]) -> None:
    missing = [image_id for image_id, position in positions.items() if not seen[position]]
    if missing:
        hint = similar(missing, unlisted)
        raise DataError(
            f"{path} has no line for {len(missing)} of {len(positions)} images: {some(missing)}{hint and f'. {hint}'}"
        )


def read_labels(folder: Path) -> dict[str, int]:
    """Class index of every image of ``image_ids.txt``, in its order.

    Raises:
        UserError: a file is missing.
        DataError: a line is malformed, or an image has no label.
    """
    positions, unlisted = read_ids(folder), set[str]()
    labels = np.full(len(positions), -1)
    path = folder / "class_labels.txt"
    for where, (image_id, field) in _rows(path, "id,label"):
        if not field.strip().isdecimal():
            raise DataError(f"{where}: expected a label, a number from 0, found {field!r}")
        if image_id in positions:
            labels[positions[image_id]] = int(field)
        else:
            unlisted.add(image_id)
    _require_all(path, positions, labels >= 0, unlisted)
    return dict(zip(positions, map(int, labels), strict=True))


def read_text_boxes(folder: Path) -> BoxTruth:
    """Boxes from the field's text files; lines of images that ``image_ids.txt`` does not list are left out.

    Raises:
        UserError: a file is missing.
        DataError: a line is malformed, an image has no size or no box, or a box has its corners swapped or reaches
            beyond its image.
    """
    positions, unlisted = read_ids(folder), set[str]()
    sizes = np.zeros((len(positions), 2))
    for where, (image_id, *fields) in _rows(folder / "image_sizes.txt", "id,width,height"):
        size = _numbers(where, fields)
        if min(size) <= 0:
            raise DataError(f"{where}: an image has no side of {min(size):g} pixels")
        if image_id in positions:
            sizes[positions[image_id]] = size
        else:
            unlisted.add(image_id)
    _require_all(folder / "image_sizes.txt", positions, sizes[:, 0] > 0, unlisted)
    owners, boxes = [], []
    for where, (image_id, *fields) in _rows(folder / "localization.txt", "id,x0,y0,x1,y1"):
        box = _numbers(where, fields)
        if box[0] > box[2] or box[1] > box[3]:
            raise DataError(f"{where}: expected x0 ≤ x1 and y0 ≤ y1, found {', '.join(fields)}")
        if image_id in positions:
            owners.append(positions[image_id])
            boxes.append(box)
        else:
            unlisted.add(image_id)
    path = folder / "localization.txt"
    truth = group_boxes(path, list(positions), sizes, np.array(owners, np.int64), np.array(boxes).reshape(-1, 4))
    _require_all(path, positions, np.diff(truth.starts) > 0, unlisted)
    return truth


def group_boxes(
    path: Path, image_ids: list[str], sizes: NDArray[np.float64], owners: NDArray[np.int64], boxes: NDArray[np.float64]
) -> BoxTruth:
    """The boxes of a file, which an error names, by image."""
    _require_inside(path, [image_ids[owner] for owner in owners], sizes[owners], boxes)
    counts = np.bincount(owners, minlength=len(image_ids))
    starts = np.concatenate([[0], counts.cumsum()])
    return BoxTruth(image_ids, sizes, boxes[np.argsort(owners, kind="stable")], starts)


def _require_inside(path: Path, owners: list[str], sizes: NDArray[np.float64], boxes: NDArray[np.float64]) -> None:
    """Raise a DataError where boxes ``(M, 4)`` reach beyond their images of ``sizes (M, 2)`` by more than rounding."""

    def outside(sizes: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray((boxes[:, :2] < -TOLERANCE).any(1) | (boxes[:, 2:] > sizes + TOLERANCE).any(1))

    wrong = np.flatnonzero(outside(sizes))
    if len(wrong):
        named = [f"{owners[k]}: {boxes[k].tolist()} in {sizes[k].tolist()}" for k in wrong]
        swapped = " Are width and height swapped?" if outside(sizes[:, ::-1])[wrong].mean() < 0.5 else ""
        raise DataError(
            f"{path}: {len(wrong)} of {len(boxes)} boxes reach beyond their image, x0 y0 x1 y1 in width, height: "
            f"{some(named)}.{swapped} Take boxes and sizes from the same source; nothing was scored."
        )


def read_text_masks(folder: Path, mask_root: Path | None) -> MaskTruth:
    """Masks from the field's text files, relative to ``mask_root`` (``folder`` where that is not given).

    Raises:
        UserError: a file is missing.
        DataError: a line is malformed, or an image has none.
    """
    positions, root, unlisted = read_ids(folder), mask_root or folder, set[str]()
    masks = [Masks() for _ in positions]
    for where, (image_id, mask, ignore) in _rows(folder / "localization.txt", "id,mask,ignore"):
        if image_id.count(",") >= 2 and image_id.rsplit(",", 2)[0] in positions:
            raise DataError(f"{where}: expected id,mask,ignore, found a box. Boxes are scored with --metric boxes.")
        if not mask.strip():
            raise DataError(f"{where}: expected id,mask,ignore, found no mask")
        if flaw := path_flaw(mask) or path_flaw(ignore):
            raise DataError(f"{where}: {flaw}. Paths of masks are relative to --mask-root.")
        if image_id not in positions:
            unlisted.add(image_id)
            continue
        position = positions[image_id]
        if ignore and masks[position].files:
            raise DataError(f"{where}: {image_id} has an ignore mask, which belongs on the image's first line only")
        known = masks[position]
        masks[position] = Masks((*known.files, mask), ignore or known.ignored)
    seen = np.array([bool(known.files) for known in masks])
    _require_all(folder / "localization.txt", positions, seen, unlisted)
    return MaskTruth(list(positions), root, masks, MaskValues())
