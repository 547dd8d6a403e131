"""Folders of score maps as any code may have written them: ``IMAGE_ID.npy`` files and ``.npz`` shards.

A shard holds either ``image_ids (n,)`` with ``maps (n, h, w)``, or one map under each image's id.
"""

import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, UserError
from pipeline.truth import some
from pipeline.wsol.maps import normalize_map, resize_map

#: Maps handed to a process at a time.
BATCH = 64
_UNREADABLE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Batch:
    """Some maps of one place.

    Attributes:
        path: the folder of ``.npy`` files, or the shard.
        image_ids: ids of the maps.
        start: row of the first in a shard's ``maps``; −1 where each map has its own name.
    """

    path: Path
    image_ids: tuple[str, ...]
    start: int = -1

    def name(self, position: int) -> str:
        """What a message calls one of the maps."""
        if self.path.is_dir():
            return str(self.path / f"{self.image_ids[position]}.npy")
        return f"{self.path}, {self.image_ids[position]}"

    def read(self, position: int) -> NDArray[Any]:
        """One map as it is stored; any of OSError, ValueError, EOFError, KeyError, BadZipFile where it is damaged."""
        if self.path.is_dir():
            return np.asarray(np.load(self.path / f"{self.image_ids[position]}.npy", allow_pickle=False))
        if self.start < 0:
            return np.asarray(_shard(self.path)[self.image_ids[position]])
        return np.asarray(_stack(self.path)[self.start + position])


@lru_cache(maxsize=1)
def _shard(path: Path) -> Any:
    """A shard, kept open: finding its arrays takes as long as reading several of them."""
    return np.load(path, allow_pickle=False)


@lru_cache(maxsize=1)
def _stack(path: Path) -> NDArray[Any]:
    """A shard's ``maps``; its batches follow one another, so that each process reads them once."""
    return np.asarray(_shard(path)["maps"])


def find_maps(folder: Path) -> list[Batch]:
    """Every map of a folder and its subfolders, in batches, ordered by path.

    Raises:
        UserError: there is no folder, or no map in it.
        DataError: a shard is damaged, or an image has several maps.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; --maps takes one with IMAGE_ID.npy files or .npz shards")
    names = sorted(
        os.path.relpath(os.path.join(place, name), folder)  # noqa: PTH118 - fifty thousand Paths would be slow
        for place, _, files in os.walk(folder, followlinks=True)
        for name in files
    )
    files = [Path(name).as_posix().removesuffix(".npy") for name in names if name.endswith(".npy")]
    batches = [Batch(folder, tuple(files[k : k + BATCH])) for k in range(0, len(files), BATCH)]
    for name in names:
        if name.endswith(".npz"):
            batches += _shard_batches(folder / name)
    if not batches:
        raise UserError(f"{folder} holds no map: neither IMAGE_ID.npy files nor .npz shards")
    counts = Counter(image_id for batch in batches for image_id in batch.image_ids)
    twice = [image_id for image_id, count in counts.items() if count > 1]
    if twice:
        raise DataError(f"{len(twice)} images have several maps in {folder}: {some(twice)}")
    return batches


def _shard_batches(path: Path) -> Iterator[Batch]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            stacked = {"image_ids", "maps"} <= set(arrays.files)
            image_ids = [str(name) for name in arrays["image_ids"]] if stacked else arrays.files
    except _UNREADABLE as error:
        raise DataError(f"{path} is not a readable .npz shard: {error}") from None
    if stacked:
        _check_stack(path, len(image_ids))
    for k in range(0, len(image_ids), BATCH):
        yield Batch(path, tuple(image_ids[k : k + BATCH]), k if stacked else -1)


def _check_stack(path: Path, images: int) -> None:
    """Raise a DataError unless ``maps`` is ``(images, h, w)``, from its header alone."""
    with zipfile.ZipFile(path) as archive, archive.open("maps.npy") as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape = read(stream)[0]
    if len(shape) != 3 or shape[0] != images:
        raise DataError(f"{path}: expected maps of shape ({images}, h, w) for its {images} image_ids, found {shape}")


def protocol_map(batch: Batch, position: int, size: int) -> NDArray[np.float64]:
    """One map as float64 ``(size, size)``: resized bicubic and min-max normalised, or unchanged where it fits.

    Raises:
        DataError: the map cannot be read, is not two-dimensional, or has values that are NaN or outside [0, 1].
    """
    try:
        stored = batch.read(position)
    except _UNREADABLE as error:
        raise DataError(f"{batch.name(position)}: cannot be read: {error}") from None
    problem = _problem(stored)
    if problem:
        raise DataError(f"{batch.name(position)}: {problem}")
    score_map = np.ascontiguousarray(stored, np.float64)
    return score_map if score_map.shape == (size, size) else normalize_map(resize_map(score_map, size))


def _problem(stored: NDArray[Any]) -> str:
    """What makes an array no score map; empty where it is one."""
    if stored.dtype.kind not in "fiub":
        return f"expected numbers, found {stored.dtype}"
    if stored.ndim != 2 or stored.size == 0:
        return f"expected a map of shape (h, w), found {stored.shape}"
    if stored.min() >= 0 and stored.max() <= 1:
        return ""
    missing = int(np.isnan(stored).sum())
    return (
        f"{missing} values are NaN" if missing else f"values in [0, 1] expected, found {stored.min()} … {stored.max()}"
    )
