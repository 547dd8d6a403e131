"""Images and masks from disk, in batches, decoded ahead by threads.

OpenCV releases the interpreter's lock while it decodes and resizes, so threads keep all cores busy without the
start-up time, copies and shared memory of worker processes, and the order of the batches never varies.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError

#: Batches decoded ahead of the one in use.
AHEAD = 3


def read_image(path: Path) -> NDArray[np.uint8]:
    """``(H, W, 3)`` RGB as stored: orientation tags are not applied, since boxes refer to the stored pixels.

    Raises:
        DataError: the file is missing or is no image.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise DataError(f"{path.absolute()} cannot be read as an image; restore it and run prepare again.")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def read_mask(path: Path, size: int) -> NDArray[np.bool_]:
    """``(size, size)``: nearest neighbour, foreground wherever the stored grey value is not zero.

    Choe et al., "Evaluating weakly supervised object localization methods right", CVPR 2020, compare the grey values
    0 to 255 with 0.5, not with half of 255: masks may hold 1 for the object, or the number of an instance.

    Raises:
        DataError: the file is missing or is no image.
    """
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    if mask is None:
        raise DataError(f"mask {path.absolute()} is missing or not an image OpenCV can read; restore it and run again.")
    return np.asarray(cv2.resize(mask, (size, size), interpolation=cv2.INTER_NEAREST) > 0)


def read_squashed(path: Path, size: int) -> NDArray[np.uint8]:
    """``(3, size, size)`` RGB, squashed to a square whatever the image's shape, as the protocol has it."""
    image = read_image(path)
    shrinks = image.shape[0] > size or image.shape[1] > size
    square = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.ascontiguousarray(square.transpose(2, 0, 1))


def batches(paths: Sequence[Path], groups: Sequence[NDArray[np.int64]], size: int) -> Iterator[NDArray[np.uint8]]:
    """``(len(group), 3, size, size)`` for each group of positions in ``paths``, a few decoded ahead."""
    # Processes that torchrun starts on one machine share its cores.
    threads = max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[list[Future[NDArray[np.uint8]]]] = deque()
        for group in groups:
            pending.append([pool.submit(read_squashed, paths[position], size) for position in group])
            if len(pending) > AHEAD:
                yield np.stack([future.result() for future in pending.popleft()])
        while pending:
            yield np.stack([future.result() for future in pending.popleft()])
