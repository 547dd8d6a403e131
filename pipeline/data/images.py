"""Images from disk, in batches, decoded ahead by threads.

OpenCV releases the interpreter's lock while it decodes and resizes, so threads keep all cores busy without the
start-up time, copies and shared memory of worker processes, and the order of the batches never varies.
"""

import io
import os
import stat
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.data.orientation import TAG, UPRIGHT, orientation, turn
from pipeline.errors import DataError

#: Batches decoded ahead of the one in use.
AHEAD = 3
#: Formats by content, whatever the file is called: those that OpenCV and Pillow both know by their first bytes.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")
#: Pixels of an image: a few kilobytes can claim billions of them, which would have to be decoded before they are
#: shrunk.
MAX_PIXELS = 100_000_000
#: Bytes of an image file; :data:`MAX_PIXELS` need no more, however they are stored.
MAX_BYTES = 1 << 30
#: Scans of a JPEG, each of which costs a pass over all pixels; encoders write about ten.
MAX_SCANS = 100

# Pillow's warnings name no file; what matters of them is an error here.
warnings.filterwarnings("ignore", module=r"PIL\.")


def read_file(path: Path) -> bytes:
    """The content of an image file.

    Raises:
        DataError: it is missing, not a regular file (opening a FIFO would wait for ever) or too large; without its
        name.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError("not a regular file")
        if status.st_size > MAX_BYTES:
            raise DataError(f"{status.st_size:,} bytes; an image may have {MAX_BYTES:,}")
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError("no such file") from None
    except (OSError, ValueError) as error:  # ValueError: NUL in the name
        raise DataError(getattr(error, "strerror", None) or str(error)) from None


def decode(data: bytes, flags: int = cv2.IMREAD_COLOR, *, upright: bool = False) -> NDArray[Any]:
    """Pixels ``(H, W, 3)`` BGR uint8, or of ``IMREAD_UNCHANGED`` as stored.

    Args:
        upright: turn the image as its orientation tag says.

    Every stage and tool decodes here, so that what ``prepare`` has accepted is read in the same way by all.

    Raises:
        DataError: why these bytes are not an image that can be used; without the file's name.
    """
    width, height = _checked_size(data)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except (cv2.error, MemoryError) as error:
        raise DataError(f"OpenCV cannot decode it: {_first_line(error)}") from None
    if pixels is None:
        raise DataError("damaged or truncated, or of a kind that OpenCV cannot decode")
    if pixels.shape[:2] != (height, width):
        raise DataError(f"its header says {width}×{height} pixels, but {pixels.shape[1]}×{pixels.shape[0]} are stored")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise DataError(f"samples of {8 * pixels.itemsize} bits; 8 and 16 are read")
    return turn(pixels, orientation(data)) if upright else np.asarray(pixels)


def _checked_size(data: bytes) -> tuple[int, int]:
    """Width and height from the header alone, which is cheap; DataError where decoding would be useless or endless."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            (width, height), kind = image.size, image.format
            turned = kind == "TIFF" and image.getexif().get(TAG, UPRIGHT) != UPRIGHT  # OpenCV would turn it in any case
    except UnidentifiedImageError:
        raise DataError(f"not an image file ({', '.join(FORMATS)} are read)") from None
    except Image.DecompressionBombError:
        raise DataError(f"more pixels than an image may have, {MAX_PIXELS:,}") from None
    except Exception as error:  # Pillow's readers raise a dozen unrelated types
        raise DataError(f"damaged header: {_first_line(error)}") from None
    if width * height > MAX_PIXELS:
        raise DataError(f"{width}×{height} pixels; an image may have {MAX_PIXELS:,}")
    if turned:
        raise DataError("a TIFF with an orientation tag, which programs apply differently; store its pixels upright")
    if kind in ("JPEG", "MPO") and data.count(b"\xff\xda") > MAX_SCANS:
        raise DataError(f"a JPEG of more than {MAX_SCANS} scans, made to take long")
    return width, height


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def read_image(path: Path, *, upright: bool) -> NDArray[np.uint8]:
    """``(H, W, 3)`` RGB, turned as the orientation tag says where ``upright``, else as stored: as boxes refer to it.

    Raises:
        DataError: the file is missing or is not an image.
    """
    try:
        return np.asarray(cv2.cvtColor(decode(read_file(path), upright=upright), cv2.COLOR_BGR2RGB), dtype=np.uint8)
    except DataError as error:
        raise DataError(
            f"{path.absolute()} cannot be read as an image: {error}. Restore it and run prepare again."
        ) from None


def read_squashed(path: Path, size: int, *, upright: bool) -> NDArray[np.uint8]:
    """``(3, size, size)`` RGB, squashed to a square whatever the image's shape, as the protocol has it."""
    return squash(read_image(path, upright=upright), size)


def squash(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """``(3, size, size)`` of an image ``(H, W, 3)``; see :func:`read_squashed`."""
    shrinks = image.shape[0] > size or image.shape[1] > size
    square = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.ascontiguousarray(square.transpose(2, 0, 1))


def batches(
    paths: Sequence[Path], groups: Sequence[NDArray[np.int64]], size: int, *, upright: bool
) -> Iterator[NDArray[np.uint8]]:
    """``(len(group), 3, size, size)`` for each group of positions in ``paths``, a few decoded ahead."""
    # Processes that torchrun starts on one machine share its cores.
    threads = max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[list[Future[NDArray[np.uint8]]]] = deque()
        for group in groups:
            pending.append([pool.submit(read_squashed, paths[position], size, upright=upright) for position in group])
            if len(pending) > AHEAD:
                yield np.stack([future.result() for future in pending.popleft()])
        while pending:
            yield np.stack([future.result() for future in pending.popleft()])
