"""Folders of score maps as any code may have written them: ``IMAGE_ID.npy`` files and ``.npz`` shards.

A shard holds either ``image_ids (n,)`` with ``maps (n, h, w)``, or one map under each image's id.
"""

import os
import zipfile
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, UserError
from pipeline.truth import NAMED, some
from pipeline.wsol.maps import normalize_map, resize_map

#: Maps handed to a process at a time.
BATCH = 64


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
        """One map as it is stored; where it is damaged, numpy and zipfile raise a dozen unrelated exceptions."""
        if self.path.is_dir():
            with (self.path / f"{self.image_ids[position]}.npy").open("rb") as stream:
                return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
        if self.start < 0:
            return np.asarray(_shard(self.path)[self.image_ids[position]])
        stack = _stack(self.path)
        if isinstance(stack, Exception):
            raise stack
        return np.asarray(stack[self.start + position])


@lru_cache(maxsize=1)
def _shard(path: Path) -> Any:
    """A shard, kept open: finding its arrays takes as long as reading several of them."""
    return np.load(path, allow_pickle=False)


@lru_cache(maxsize=1)
def _stack(path: Path) -> NDArray[Any] | Exception:
    """A shard's ``maps``, or why they cannot be read; its batches follow one another: each process tries once."""
    try:
        return np.asarray(_shard(path)["maps"])
    except Exception as error:  # see Batch.read
        return error


def _reason(error: Exception) -> str:
    """Why a file cannot be read, in one line."""
    return (str(error) or type(error).__name__).splitlines()[0]


def find_maps(folder: Path) -> list[Batch]:
    """Every map of a folder and its subfolders, in batches, ordered by path.

    Raises:
        UserError: there is no folder, or no map in it.
        DataError: shards are damaged, or an image has several maps.
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
    batches += _shards([folder / name for name in names if name.endswith(".npz")])
    if not batches:
        raise UserError(f"{folder} holds no map: neither IMAGE_ID.npy files nor .npz shards")
    counts = Counter(image_id for batch in batches for image_id in batch.image_ids)
    twice = [image_id for image_id, count in counts.items() if count > 1]
    if twice:
        raise DataError(f"{len(twice)} images have several maps in {folder}: {some(twice)}")
    return batches


def _shards(paths: list[Path]) -> list[Batch]:
    batches, damaged = [], []
    for path in paths:
        try:
            batches += _shard_batches(path)
        except DataError as error:
            damaged.append(f"\n  {error}")
    if damaged:
        named = f", the first {NAMED} of them" if len(damaged) > NAMED else ""
        listed = "".join(damaged[:NAMED])
        raise DataError(f"{len(damaged)} of {len(paths)} shards are damaged; nothing was scored{named}:{listed}")
    return batches


def _shard_batches(path: Path) -> list[Batch]:
    """The batches of a shard; reads its ids and the shape of its maps only."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            stacked = {"image_ids", "maps"} <= set(arrays.files)
            image_ids = _texts(arrays["image_ids"]) if stacked else arrays.files
        shape = _stack_shape(path) if stacked else ()
    except Exception as error:  # see Batch.read
        raise DataError(f"{path} is not a readable .npz shard: {_reason(error)}") from None
    if stacked and (len(shape) != 3 or shape[0] != len(image_ids)):
        found = f"for its {len(image_ids)} image_ids, found {shape}"
        raise DataError(f"{path}: expected maps of shape ({len(image_ids)}, h, w) {found}")
    starts = range(0, len(image_ids), BATCH)
    return [Batch(path, tuple(image_ids[k : k + BATCH]), k if stacked else -1) for k in starts]


def _texts(image_ids: NDArray[Any]) -> list[str]:
    """Ids as text, whether they were stored as text, bytes or numbers."""
    if image_ids.ndim != 1:
        raise ValueError(f"expected image_ids of shape (n,), found {image_ids.shape}")
    return [k.decode() if isinstance(k, bytes) else str(k) for k in image_ids.tolist()]


def _stack_shape(path: Path) -> tuple[int, ...]:
    """Shape of a shard's ``maps``, from its header alone."""
    with zipfile.ZipFile(path) as archive, archive.open("maps.npy") as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return tuple(read(stream)[0])


def protocol_map(batch: Batch, position: int, size: int) -> NDArray[np.float64]:
    """One map as float64 ``(size, size)``: resized bicubic and min-max normalised, or unchanged where it fits.

    Raises:
        DataError: the map cannot be read, is not two-dimensional, or has values that are NaN or outside [0, 1].
    """
    try:
        stored = batch.read(position)
    except Exception as error:  # see Batch.read
        raise DataError(f"{batch.name(position)}: cannot be read: {_reason(error)}") from None
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
    if missing:
        return f"NaN in {missing} of {stored.size} values"
    return f"expected values in [0, 1], found {stored.min()} … {stored.max()}; normalise the map, for example min-max"
