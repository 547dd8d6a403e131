"""The files that stages exchange: where they lie and how they are written.

Every file is written to a temporary name and renamed, so that a reader never sees half of one, and a command that is
stopped leaves the old file in place.
"""

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError

if TYPE_CHECKING:
    # Every command imports this module, most handle no table, and importing pandas takes a second.
    import pandas as pd

PREPARED = Path("data/prepared")
MODELS = Path("models")
CAMS = Path("cams")
BOXES = Path("boxes")
METRICS = Path("metrics")
REPORT = Path("report")

EVALUATED_SPLITS = ("val", "test")
#: Images per shard of `cams/` and `boxes/`: what a stage holds in memory at a time.
SHARD_SIZE = 256


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary sibling of ``path`` to write to; it takes the place of ``path`` when the block ends well.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{path.name}.{os.getpid()}"
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        if "temporary" in locals():
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill; it takes the place of the folder ``path`` when the block ends well.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{path.name}.*"):
            shutil.rmtree(left, ignore_errors=True)  # by a run that was killed
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        temporary.chmod(0o755)
        yield temporary
        if path.exists() or path.is_symlink():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
            path.replace(old / path.name)
            temporary.replace(path)
            shutil.rmtree(old)
        else:
            temporary.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unwritable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot write {path.absolute()}: {error.strerror or error}"
        f"{f' ({error.filename})' if error.filename else ''}. Free or make writable that place and run again; "
        "what was there before is unchanged."
    )


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


def read_json(path: Path) -> Any:
    """Parse a JSON file that an earlier stage wrote; UserError where it is missing or damaged."""
    with reading(path):
        return json.loads(path.read_text())


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
    except Exception as error:  # the readers raise a dozen unrelated types
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{path.absolute()} is damaged: {reason}. Remove it and run `python -m pipeline repro`, which brings it "
            "back from the cache or makes it anew."
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
        with reading(path), np.load(path, allow_pickle=False) as arrays:
            shard = dict(arrays)
        yield shard


def weights_file(path: str) -> Path:
    """The file of pretrained weights that ``train.pretrained`` names; UserError where there is none."""
    if not Path(path).is_file():
        raise UserError(f"train.pretrained: {Path(path).absolute()} does not exist; give true, false or a file.")
    return Path(path)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
