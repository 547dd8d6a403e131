"""Masks from disk: the files of an image as one, in the protocol's frame."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.images import FORMATS, decode, read_file
from pipeline.data.masks import Masks, MaskValues
from pipeline.errors import DataError

#: In masks of classes, beside the indices of classes.
NO_CLASS, IGNORED = -1, -2


def split_values(data: bytes, values: MaskValues) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Object and ignored pixels ``(H, W)`` of a mask file's content.

    Raises:
        DataError: it is not an image; without its name.
    """
    if not (values.objects or values.ignored):
        stored = decode(data, cv2.IMREAD_UNCHANGED)
        # Converted to 8 bits of grey, the numbers of instances would vanish in images of 16 bits or in colour;
        # transparency does not count.
        objects = (stored.reshape(*stored.shape[:2], -1)[:, :, :3] != 0).any(axis=2)
        return objects, np.zeros_like(objects)
    numbers = stored_numbers(data)
    ignored = np.isin(numbers, values.ignored)
    return (np.isin(numbers, values.objects) if values.objects else (numbers != 0) & ~ignored), ignored


def stored_numbers(data: bytes) -> NDArray[Any]:
    """Stored numbers ``(H, W)``; of an image with a palette its indices, which OpenCV would turn into colours.

    Raises:
        DataError: it is not an image of one channel; without its name.
    """
    decode(data, cv2.IMREAD_UNCHANGED)  # what OpenCV refuses is refused here: damage, limits
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if len(image.getbands()) != 1:
            raise DataError(f"a mask of mode {image.mode}; its values are read from one channel or a palette")
        return np.asarray(image)


def read_masks(
    root: Path, masks: Masks, values: MaskValues, size: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Object and ignored pixels of an image, ``(size, size)`` each, nearest neighbour; None where it has no mask.

    Raises:
        DataError: a file is missing or is not an image.
    """
    if not masks.files:
        return None
    pairs = [_read(root / path, values, size) for path in masks.files]
    objects, ignored = (np.any(kind, axis=0) for kind in zip(*pairs, strict=True))
    if masks.ignored is not None:
        ignored |= read_mask(root / masks.ignored, size)
    return objects, ignored & ~objects


def class_values(data: bytes, values: MaskValues) -> NDArray[np.int64]:
    """The class ``(H, W)`` of each pixel of a mask file's content: its index, -1 where there is none, -2 where ignored.

    Raises:
        DataError: it is not an image of one channel, or holds a value that stands for nothing; without its name.
    """
    numbers = stored_numbers(data)
    found = np.full(numbers.shape, -3)
    found[numbers == 0] = NO_CLASS
    found[np.isin(numbers, values.ignored)] = IGNORED
    for label, value in enumerate(values.classes):
        found[numbers == value] = label
    if (found == -3).any():
        raise DataError(f"a mask with the value {numbers[found == -3][0]}, which is none of the classes here")
    return found


def read_classes(root: Path, masks: Masks, values: MaskValues) -> NDArray[np.int64] | None:
    """The class of each pixel of an image's mask, as :func:`class_values` gives it; None where it has none.

    Raises:
        DataError: the file is missing, is not an image, or holds other values.
    """
    if not masks.files:
        return None
    path = root / masks.files[0]
    try:
        return class_values(read_file(path), values)
    except DataError as error:
        raise _unreadable(path, error) from None


def read_mask(path: Path, size: int) -> NDArray[np.bool_]:
    """``(size, size)``: nearest neighbour, true wherever a stored value is not zero.

    Raises:
        DataError: the file is missing or is not an image.
    """
    return _read(path, MaskValues(), size)[0]


def _read(path: Path, values: MaskValues, size: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    try:
        objects, ignored = split_values(read_file(path), values)
    except DataError as error:
        raise _unreadable(path, error) from None
    return _resized(objects, size), _resized(ignored, size)


def _unreadable(path: Path, error: DataError) -> DataError:
    return DataError(f"mask {path.absolute()} cannot be read: {error}. Restore it and run again.")


def _resized(mask: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    return np.asarray(cv2.resize(mask.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST) > 0)


def extent(masks: Sequence[NDArray[np.bool_]]) -> tuple[float, float, float, float] | None:
    """The tight box ``xyxy`` around all true pixels, its last edges behind them; None where there are none."""
    x, y, width, height = cv2.boundingRect(np.any(masks, axis=0).astype(np.uint8))
    return (float(x), float(y), float(x + width), float(y + height)) if width else None
