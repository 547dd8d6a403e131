"""Orientation tags of images."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: The tag's number in Exif, and its value where nothing is to be done.
TAG = 0x0112
UPRIGHT = 1


def orientation(data: bytes) -> int:
    """The orientation tag of an image file, 1 to 8; 1 where it has none, or one that means nothing."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            tag = image.getexif().get(TAG, UPRIGHT)
    except Exception:  # Pillow's readers raise a dozen unrelated types; the pixels were read by another decoder
        return UPRIGHT
    return tag if isinstance(tag, int) and 1 <= tag <= 8 else UPRIGHT


def turn(pixels: NDArray[Any], tag: int) -> NDArray[Any]:
    """Pixels ``(H, W, …)`` as a viewer shows them, see Exif 2.3, section 4.6.4 (Orientation)."""
    if tag >= 5:
        pixels = pixels.swapaxes(0, 1)
    rows = -1 if tag in (3, 4, 7, 8) else 1
    columns = -1 if tag in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(pixels[::rows, ::columns])
