"""The files that stages exchange: where they lie and how they are written.

Every file is written to a temporary name and renamed, so that a reader never sees half of one, and a command that is
stopped leaves the old file in place.
"""

import hashlib
import io
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError, kept_back, reason
from pipeline.schemas import parse_json

if TYPE_CHECKING:
    # Every command imports this module, most handle no table, and importing pandas takes a second.
    import pandas as pd

#: The images with their labels and nothing else: all that training and the maps may know.
LABELLED = Path("data/labelled")
#: The same images with boxes and masks, which choose thresholds and measure.
PREPARED = Path("data/prepared")
MODELS = Path("models")
CAMS = Path("cams")
#: In :data:`CAMS`: what a map method has learnt from the training images.
FITTED = "fitted.safetensors"
BOXES = Path("boxes")
METRICS = Path("metrics")
#: The result before the one here, which the report compares it with; nothing lies there before there were two.
PREVIOUS = Path("data/previous")
REPORT = Path("report")

#: In each of these folders: what the files beside it were made from (:mod:`pipeline.records`).
RECORD = "record.json"

#: Splits that are scored: val chooses, gate decides on promotion (a data set may lack it), test is only reported.
EVALUATED_SPLITS = ("val", "gate", "test")
#: Images per shard of `cams/` and `boxes/`: what a stage holds in memory at a time.
SHARD_SIZE = 256


@contextmanager
def reaching(what: str) -> Iterator[None]:
    """Turn what looking at a user's path raises, as below a folder of another user, into a UserError.

    Args:
        what: names the path for the user, such as the key that it stands in.
    """
    try:
        yield
    except OSError as error:
        raise kept_back(error, what) from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary sibling of ``path`` to write to; it takes the place of ``path`` when the block ends well.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Containers that share a volume may have processes of one id.
        temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}"
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise Unwritable(path, error) from None
    finally:
        if "temporary" in locals():
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill; it takes the place of the folder ``path`` when the block ends well.

    Raises:
        UserError: the folder cannot be written; the old one is in its place.
    """
    with _workplace(path, path.parent) as (new, old):
        yield new
        _swap([(new, path)], old)


@contextmanager
def replacing_files(folder: Path) -> Iterator[Path]:
    """A temporary folder to fill; its files take their places in ``folder`` when the block ends well: all, or none.

    The record comes last: without it a command that was killed in between is noticed.

    Raises:
        UserError: a file cannot be written; the old ones are in their places.
    """
    with _workplace(folder, folder) as (new, old):
        yield new
        files = sorted(new.iterdir(), key=lambda file: (file.name == RECORD, file.name))
        _swap([(file, folder / file.name) for file in files], old)


@contextmanager
def _workplace(path: Path, place: Path) -> Iterator[tuple[Path, Path]]:
    """Two empty folders in ``place``, for what is new and what is replaced; they are gone when the block ends."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        for left in place.glob(f".{path.name}.*"):
            shutil.rmtree(left, ignore_errors=True)  # by a run that was killed
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=place))
        new, old = temporary / "new", temporary / "old"
        try:
            new.mkdir()
            old.mkdir()
            yield new, old
        finally:
            shutil.rmtree(new, ignore_errors=True)
            for empty in (old, temporary):
                with suppress(OSError):  # old files that could not be put back are not removed
                    empty.rmdir()
    except OSError as error:
        raise Unwritable(path, error) from None
    except Unwritable as inside:  # the name it knows is the temporary one
        raise Unwritable(path, inside.error) from None


def _swap(moves: Sequence[tuple[Path, Path]], aside: Path) -> None:
    """Rename each first path to its second and remove what lay there; where a rename fails, all is put back."""
    try:
        for new, place in moves:
            if os.path.lexists(place):
                place.replace(aside / place.name)
            new.replace(place)
    except BaseException:  # a signal may end it anywhere: what was done is seen by what lies where
        for new, place in moves:
            if not os.path.lexists(new):
                place.replace(new)
            if os.path.lexists(aside / place.name):
                (aside / place.name).replace(place)
        raise
    for _, place in moves:
        _remove(aside / place.name)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


class Unwritable(UserError):
    """A file or folder cannot be written."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"cannot write {path.absolute()}: {error.strerror or error}"
            f"{f' ({error.filename})' if error.filename else ''}. Free or make writable that place and run again; "
            "what was there before is unchanged."
        )
        self.error = error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file in one step."""
    with replacing(path) as temporary, temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        # A rename may reach the disk before the content does.
        os.fsync(stream.fileno())


def write_json(path: Path, value: Any) -> None:
    """Byte-stable JSON: sorted keys, floats to ten decimals."""
    text = json.dumps(_rounded(value), sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(path, (text + "\n").encode())


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 10)
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


def content(path: Path) -> bytes:
    """The bytes of a file that an earlier stage wrote."""
    return existing(path).read_bytes()


def read_json(path: Path, schema: Any, read: Callable[[Path], bytes] = content) -> Any:
    """Parse a JSON file; UserError where it is missing or damaged.

    Args:
        schema: a model, or any other type, that it must fit.
        read: gives the file's content, as :meth:`pipeline.records.Inputs.read` does, which verifies it.
    """
    with reading(path):
        return parse_json(read(path), schema)


def existing(path: Path) -> Path:
    """``path`` itself, or a UserError that names the stage which makes it."""
    if path.exists():
        return path
    stage = {"data": "prepare", "models": "train", "cams": "extract_cams", "boxes": "localize", "metrics": "evaluate",
             "report": "report"}  # fmt: skip
    maker = stage.get(path.parts[0], "")
    raise UserError(f"{path.absolute()} does not exist. Run `python -m pipeline {maker}` first, or `dvc repro`.")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file makes its reader raise into a UserError that says how to get it back."""
    existing(path)
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the readers raise a dozen unrelated types
        raise UserError(
            f"{path.absolute()} is damaged: {reason(error)}. Remove it and run `python -m pipeline repro`, which "
            "brings it back from the cache or makes it anew."
        ) from None


def write_csv(path: Path, table: "pd.DataFrame") -> None:
    """CSV with floats to ten significant digits."""
    write_bytes(path, table.to_csv(index=False, float_format="%.10g").encode())


def write_parquet(path: Path, table: "pd.DataFrame") -> None:
    """Parquet without the index."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    write_bytes(path, buffer.getvalue())


def write_shard(folder: Path, number: int, arrays: Mapping[str, NDArray[Any]]) -> None:
    """``folder/NNNNN.npz`` of arrays that share their first axis."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_bytes(folder / f"{number:05d}.npz", buffer.getvalue())


def read_shards(folder: Path) -> Iterator[dict[str, NDArray[Any]]]:
    """The shards of a folder in order, one in memory at a time."""
    for path in sorted(existing(folder).glob("*.npz")):
        with reading(path):
            shard = parse_shard(content(path))
        yield shard


def parse_shard(data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of a shard from the content of its file."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return dict(arrays)


def weights_file(path: str) -> Path:
    """The file of pretrained weights that ``train.pretrained`` names; UserError where there is none."""
    with reaching("train.pretrained"):
        found = Path(path).is_file()
    if not found:
        raise UserError(f"train.pretrained: {Path(path).absolute()} does not exist; give true, false or a file.")
    return Path(path)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
