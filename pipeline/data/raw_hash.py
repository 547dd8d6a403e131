"""A hash of the raw data set, by which a watcher knows that it has changed."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from pipeline.data.tree import files_below
from pipeline.errors import DataError
from pipeline.files import file_hash, reaching, read_json, write_json
from pipeline.schemas import Facts
from pipeline.system.state import state_folder


def raw_hash(root: Path) -> str:
    """Hash of the names and contents of all files below ``root``, or of the file ``root``.

    The contents are read only when a name, size or time of change differs from the last call: an hourly look at a large
    data set is cheap, and copying the same data anew changes nothing.

    Raises:
        DataError: there is no such folder, or something in it that DVC cannot follow (:func:`files_below`).
    """
    with reaching("prepare.root"):
        found = root.exists()
    if not found:
        raise DataError(f"prepare.root: {root.absolute()} does not exist. Set it in params.yaml.")
    files = sorted(root / name for name in files_below(root) if "__pycache__" not in Path(name).parts)
    looks = _hash((str(path.relative_to(root)), path.stat().st_size, path.stat().st_mtime_ns) for path in files)
    memory = state_folder() / "rawhash" / f"{_hash([str(root.resolve())])}.json"
    if memory.exists() and (known := read_json(memory, _Memory)).looks == looks:
        return str(known.content)
    content = _hash((str(path.relative_to(root)), file_hash(path)) for path in files)
    write_json(memory, {"looks": looks, "content": content})
    return content


class _Memory(Facts):
    looks: str
    content: str


def _hash(facts: Iterable[object]) -> str:
    digest = hashlib.sha256()
    for fact in facts:
        digest.update(json.dumps(fact).encode())
    return digest.hexdigest()[:32]
