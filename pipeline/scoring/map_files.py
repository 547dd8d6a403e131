"""Folders of score maps as any code may have written them: ``IMAGE_ID.npy`` files and ``.npz`` shards.

A shard holds either ``image_ids (n,)`` with ``maps (n, h, w)``, or one map under each image's id. The shards that
``extract_cams`` writes are read too: ``maps (n, 2, h, w)`` of the true and the predicted class, not normalised, beside
``classes (n, 2)``; the true class's is scored, as in ``evaluate``.
"""

import math
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from pipeline.data.text_lists import NAMED, some
from pipeline.errors import DataError, UserError
from pipeline.evaluation.score_maps import normalize_map, resize_map

#: Maps handed to a process at a time.
BATCH = 64
#: Values of a map: as many as the largest frame that maps can be scored in has pixels.
MAX_VALUES = 8192 * 8192
#: Bytes of a map, and of the maps of a stacked shard, whatever they are compressed to: a file of a hundred bytes can
#: claim a terabyte.
MAX_MAP_BYTES = 8 * MAX_VALUES
MAX_STACK_BYTES = 4 << 30


@dataclass(frozen=True)
class Batch:
    """Some maps of one place.

    Attributes:
        path: the folder of ``.npy`` files, or the shard.
        image_ids: ids of the maps.
        start: row of the first in a shard's ``maps``; −1 where each map has its own name.
        raw: whether ``extract_cams`` wrote them.
    """

    path: Path
    image_ids: tuple[str, ...]
    start: int = -1
    raw: bool = False

    def name(self, position: int) -> str:
        """What a message calls one of the maps."""
        if self.path.is_dir():
            return str(self.path / f"{self.image_ids[position]}.npy")
        return f"{self.path}, {self.image_ids[position]}"

    def read(self, position: int) -> NDArray[Any]:
        """One map as it is stored; where it is damaged, numpy and zipfile raise a dozen unrelated exceptions."""
        if self.path.is_dir():
            return _read_npy(self.path / f"{self.image_ids[position]}.npy")
        if self.start < 0:
            return _read_member(_shard(self.path), self.image_ids[position], MAX_MAP_BYTES)
        stack = _stack(self.path)
        if isinstance(stack, Exception):
            raise stack
        rows = stack[:, 0] if self.raw else stack
        return np.asarray(rows[self.start + position])


@lru_cache(maxsize=1)
def _shard(path: Path) -> Any:
    """A shard, kept open: finding its arrays takes as long as reading several of them."""
    return np.load(path, allow_pickle=False)


@lru_cache(maxsize=1)
def _stack(path: Path) -> NDArray[Any] | Exception:
    """A shard's ``maps``, or why they cannot be read; its batches follow one another: each process tries once."""
    try:
        return _read_member(_shard(path), "maps", MAX_STACK_BYTES)
    except Exception as error:  # see Batch.read
        return error


@dataclass(frozen=True)
class _Header:
    """What a ``.npy`` file says of itself."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]


def _read_header(stream: IO[bytes], stored: int, most: int) -> _Header:
    """The header of a file of ``stored`` bytes; ValueError where the array cannot be read, or must not be."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    header = _Header(*read(stream))
    if header.dtype.hasobject:
        raise ValueError("it holds Python objects, which are never unpickled; save numbers")
    size = math.prod(header.shape) * header.dtype.itemsize
    if size > most:
        raise ValueError(f"its header claims shape {header.shape}, {size:,} bytes; {most:,} are read at a time")
    if min(header.shape, default=0) < 0 or size > stored - stream.tell():
        raise ValueError(f"its header claims shape {header.shape}, {size:,} bytes, more than are stored")
    return header


def _read_npy(path: Path) -> NDArray[Any]:
    with path.open("rb") as stream:
        header = _read_header(stream, os.fstat(stream.fileno()).st_size, MAX_MAP_BYTES)
        values = np.fromfile(stream, header.dtype, math.prod(header.shape))
    return values.reshape(header.shape, order="F" if header.fortran else "C")


def _member_header(shard: Any, name: str, most: int) -> _Header:
    entry = shard.zip.getinfo(f"{name}.npy")
    with shard.zip.open(entry) as stream:
        return _read_header(stream, entry.file_size, most)


def _read_member(shard: Any, name: str, most: int) -> NDArray[Any]:
    """One array of a shard, once its header has been looked at."""
    _member_header(shard, name, most)
    return np.asarray(shard[name])


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
    names = sorted(name for name in _files(folder) if name.endswith((".npy", ".npz")))
    odd = [name for name in names if not os.path.isfile(os.path.join(folder, name))]  # noqa: PTH113, PTH118 - see _files
    if odd:
        raise DataError(f"{len(odd)} of {len(names)} maps in {folder} are not regular files: {some(odd)}. Remove them.")
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


def _files(folder: Path) -> Iterator[str]:
    """Every file below, relative to the folder; links are followed, but for those back to a folder above."""
    above: dict[str, tuple[str, ...]] = {os.fspath(folder): ()}
    for place, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        real, parents = os.path.realpath(place), above.pop(place)
        if real in parents:
            folders.clear()
            continue
        above |= {os.path.join(place, name): (*parents, real) for name in folders}  # noqa: PTH118
        for name in files:
            yield os.path.relpath(os.path.join(place, name), folder)  # noqa: PTH118 - thousands of Paths would be slow


def _refuse(error: OSError) -> NoReturn:
    """A folder that cannot be read would be left out without a word."""
    raise error


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
            raw = stacked and "classes" in arrays.files
            image_ids = _texts(_read_member(arrays, "image_ids", MAX_MAP_BYTES)) if stacked else arrays.files
            shape = _member_header(arrays, "maps", MAX_STACK_BYTES).shape if stacked else ()
    except Exception as error:  # see Batch.read
        raise DataError(f"{path} is not a readable .npz shard: {_reason(error)}") from None
    if stacked and (len(shape) != (4 if raw else 3) or shape[0] != len(image_ids)):
        expected = f"({len(image_ids)}, 2, h, w)" if raw else f"({len(image_ids)}, h, w)"
        raise DataError(f"{path}: expected maps of shape {expected} for its {len(image_ids)} image_ids, found {shape}")
    starts = range(0, len(image_ids), BATCH)
    return [Batch(path, tuple(image_ids[k : k + BATCH]), k if stacked else -1, raw) for k in starts]


def _texts(image_ids: NDArray[Any]) -> list[str]:
    """Ids as text, whether they were stored as text, bytes or numbers."""
    if image_ids.ndim != 1:
        raise ValueError(f"expected image_ids of shape (n,), found {image_ids.shape}")
    return [k.decode() if isinstance(k, bytes) else str(k) for k in image_ids.tolist()]


def protocol_map(batch: Batch, position: int, size: int) -> NDArray[np.float64]:
    """One map as float64 ``(size, size)``: resized bicubic and min-max normalised, or unchanged where it fits.

    Raises:
        DataError: the map cannot be read, is not two-dimensional, or has values that are NaN or outside [0, 1].
    """
    try:
        stored = batch.read(position)
    except Exception as error:  # see Batch.read
        raise DataError(f"{batch.name(position)}: cannot be read: {_reason(error)}") from None
    problem = _problem(stored, batch.raw)
    if problem:
        raise DataError(f"{batch.name(position)}: {problem}")
    score_map = np.ascontiguousarray(stored, np.float64)
    fits = score_map.shape == (size, size) and not batch.raw
    return score_map if fits else normalize_map(resize_map(score_map, size))


def _problem(stored: NDArray[Any], raw: bool) -> str:
    """What makes an array unusable as a score map; empty where it can be used."""
    if stored.dtype.kind not in "fiub":
        return f"expected numbers, found {stored.dtype}"
    if stored.ndim != 2 or stored.size == 0:
        return f"expected a map of shape (h, w), found {stored.shape}"
    if stored.size > MAX_VALUES:
        return f"expected at most {MAX_VALUES:,} values, found {stored.size:,}"
    if (stored.min() >= 0 and stored.max() <= 1) or (raw and np.isfinite(stored).all()):
        return ""
    missing = int(np.isnan(stored).sum())
    if missing:
        return f"NaN in {missing} of {stored.size} values"
    return f"expected values in [0, 1], found {stored.min()} … {stored.max()}; normalise the map, for example min-max"
