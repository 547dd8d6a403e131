"""Masks of labels from the maps of an image's classes (pseudo-segmentation), and their files.

Track 1 of "Learning from imperfect data", CVPR workshop 2020: each class's map is a fraction of its standard (MaS or
PaS), the strongest class takes the pixel, and what does not exceed the threshold is background.
"""

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.masks import MaskValues


def class_scores(
    grey: NDArray[np.uint8], standards: NDArray[np.floating], width: int, height: int
) -> NDArray[np.float64]:
    """Maps ``(M, S, S)`` as fractions of their standards ``(M,)``: ``(M, height, width)``.

    A standard of 0 gives zeros.
    """
    scores = [
        image / standard if standard else np.zeros(image.shape) for image, standard in zip(grey, standards, strict=True)
    ]
    resized = [cv2.resize(score, (width, height), interpolation=cv2.INTER_LINEAR) for score in scores]
    return np.asarray(resized, np.float64).reshape(len(grey), height, width)


def mask_file(labels: NDArray[np.integer], values: MaskValues) -> bytes:
    """A PNG of labels ``(H, W)``, negative where there is none: their stored values, with the palette of VOC."""
    stored = np.array([0, *values.classes], np.uint8)[np.maximum(labels, -1) + 1]
    image = Image.fromarray(stored)
    image.putpalette(voc_palette().tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def voc_palette() -> NDArray[np.uint8]:
    """RGB of each value ``(256, 3)``: three bits of the value at a time become the highest bits of its colour."""
    values = np.arange(256)
    colours = np.zeros((256, 3), np.int64)
    for place in range(8):
        for channel in range(3):
            colours[:, channel] |= (values >> (3 * place + channel) & 1) << (7 - place)
    return colours.astype(np.uint8)
