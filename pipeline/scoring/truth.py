"""Ground truth to score maps against: the field's text files, or a manifest of this pipeline."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.data.mask_files import read_masks
from pipeline.data.masks import Masks
from pipeline.data.text_lists import BoxTruth, MaskTruth, group_boxes, read_text_boxes, read_text_masks, some
from pipeline.errors import DataError
from pipeline.evaluation.geometry import to_protocol

Truth = BoxTruth | MaskTruth


def protocol_boxes(truth: BoxTruth, index: int, size: int) -> NDArray[np.int64]:
    """Boxes ``(m, 4)`` of one image in the protocol's frame of ``size`` pixels."""
    width, height = truth.sizes[index]
    return to_protocol(truth.of(index), width, height, size)


def protocol_masks(truth: MaskTruth, index: int, size: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Foreground, the union of the instances, and ignored pixels of one image, ``(size, size)`` each.

    Raises:
        DataError: a mask is not an image.
    """
    pair = read_masks(truth.root, truth.masks[index], truth.values, size)
    assert pair is not None, "whoever read this truth has seen to it that every image has a mask"
    return pair


def read_manifest_truth(folder: Path, masks: bool, mask_root: Path | None, mapped: Iterable[str]) -> Truth:
    """Truth from a manifest: of the splits that the ids in ``mapped`` belong to.

    Raises:
        DataError: no id is known, or an image of these splits lacks what is to be scored, or a mask file is missing.
    """
    from pipeline.data.manifest import read_dataset

    # Boxes need no image; where the masks lie is the user's to say.
    dataset = read_dataset(folder, mask_root if masks else folder)
    splits = sorted(set(dataset.rows["split"][dataset.rows["image_id"].isin(list(mapped))]))
    if not splits:
        raise DataError(f"no map bears an image_id of {folder / 'manifest.parquet'}")
    images = {image_id: row for split in splits for image_id, row in dataset.images(split).items()}
    lacking = [k for k, row in images.items() if (not row.masks.files if masks else len(row.boxes) == 0)]
    if lacking:
        what = "mask" if masks else "box"
        raise DataError(
            f"{len(lacking)} of {len(images)} images of {' and '.join(splits)} have no {what}: {some(lacking)}"
        )
    rows = images.values()
    if not masks:
        sizes = np.array([(row.width, row.height) for row in rows], np.float64)
        owners = np.repeat(np.arange(len(images)), [len(row.boxes) for row in rows])
        boxes = np.concatenate([row.boxes for row in rows])
        return group_boxes(folder / "manifest.parquet", list(images), sizes, owners, boxes)
    own = [Masks(row.masks.files, row.masks.ignored) for row in rows]
    truth = MaskTruth(list(images), dataset.root, own, dataset.mask_values)
    truth.check_files()
    return truth


def read_truth(path: Path, masks: bool, mask_root: Path | None, mapped: Iterable[str]) -> Truth:
    """Boxes or masks from a folder of text files, from a folder with a manifest, or from the manifest itself."""
    if path.name == "manifest.parquet" or (path / "manifest.parquet").is_file():
        return read_manifest_truth(path if path.is_dir() else path.parent, masks, mask_root, mapped)
    if not masks:
        return read_text_boxes(path)
    truth = read_text_masks(path, mask_root)
    truth.check_files()
    return truth
