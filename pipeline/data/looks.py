"""What an image or a mask is by itself, whatever is annotated: each file is decoded once and then remembered."""

import hashlib
import inspect
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import PIL

from pipeline.data import images, mask_files, orientation
from pipeline.data.masks import MaskValues
from pipeline.data.memory import Memory
from pipeline.data.names import path_flaw
from pipeline.data.source import Box
from pipeline.errors import DataError


class ImageLook(NamedTuple):
    """An image that can be decoded: its stored size, its orientation tag, the SHA-256 of its file."""

    width: int
    height: int
    turned: int
    content: str


class MaskLook(NamedTuple):
    """A mask that can be decoded: its size, the box around its object and ignored pixels, the SHA-256 of its file."""

    width: int
    height: int
    extent: Box | None
    content: str


def look_at_image(memory: Memory, root: Path, path: str) -> ImageLook:
    """Decode an image, or recall what it was.

    Raises:
        DataError: it cannot be used; without its name.
    """

    def see() -> ImageLook:
        data = images.read_file(root / path)
        height, width = images.decode(data).shape[:2]
        return ImageLook(width, height, orientation.orientation(data), hashlib.sha256(data).hexdigest())

    return ImageLook(*memory.recall(_place(root, path), f"image {_reader()}", see))


def look_at_mask(memory: Memory, root: Path, path: str, values: MaskValues) -> MaskLook:
    """Decode a mask, or recall what it was; see :func:`look_at_image`."""

    def see() -> MaskLook:
        data = images.read_file(root / path)
        if values.classes:
            mask_files.class_values(data, values)
        pixels = mask_files.split_values(data, values)
        height, width = pixels[0].shape
        return MaskLook(width, height, mask_files.extent(pixels), hashlib.sha256(data).hexdigest())

    width, height, box, content = memory.recall(_place(root, path), f"mask {values} {_reader()}", see)
    return MaskLook(width, height, box and (box[0], box[1], box[2], box[3]), content)


def _place(root: Path, path: str) -> Path:
    if flaw := path_flaw(path):
        raise DataError(flaw)
    return root / path


@cache
def _reader() -> str:
    """Stands for the code that decodes: what another version has seen is seen anew."""
    code = "".join(inspect.getsource(module) for module in (images, mask_files, orientation))
    return hashlib.sha256(f"{code} {cv2.__version__} {PIL.__version__}".encode()).hexdigest()[:16]
