"""Where a result came from: the commit, the changes upon it, and the content hashes of ``dvc.lock``."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import UserError
from pipeline.files import METRICS, MODELS, PREPARED, existing, read_json

LOCK = Path("dvc.lock")
#: What makes a result, beside data: a run is dirty when one of these differs from the commit.
SOURCES = ("pipeline", "dvc.yaml", "params.yaml")
#: What `evaluate` wrote, by which a result is known.
RESULT = (METRICS / "metrics.json", METRICS / "threshold_curve.csv", METRICS / "per_image.parquet")
MODEL = MODELS / "model.pt"


@dataclass(frozen=True)
class Result:
    """What identifies a result and its makings.

    Attributes:
        run_key: hash of evaluate's entry in ``dvc.lock``; of the result files where the lock does not describe them.
        data_hash: of ``data/prepared``, image contents included.
        model_hash: MD5 of ``models/model.pt``.
        from_lock: whether the keys are those of ``dvc.lock``.
    """

    run_key: str
    data_hash: str
    model_hash: str
    from_lock: bool


def read_result() -> Result:
    """Identify the result that lies in the working folder.

    ``dvc.lock`` counts where it describes the files that are there. Stages that were run by hand, here or on another
    machine, are known by the files themselves.

    Raises:
        UserError: a result file is missing, or ``dvc.lock`` cannot be read.
    """
    hashes = {path: file_md5(existing(path)) for path in (*RESULT, MODEL)}
    lock = _read_lock()
    outs = {Path(out["path"]): out.get("md5", "") for entry in lock.values() for out in entry.get("outs", [])}
    if all(outs.get(path) == value for path, value in hashes.items()):
        return Result(_hash(lock["evaluate"]), outs.get(PREPARED, ""), hashes[MODEL], from_lock=True)
    facts = PREPARED / "dataset.json"
    data_hash = read_json(facts)["content_hash"] if facts.exists() else ""
    return Result(_hash(sorted(hashes.values())), data_hash, hashes[MODEL], from_lock=False)


def _read_lock() -> dict[str, Any]:
    if not LOCK.exists():
        return {}
    try:
        return dict(yaml.safe_load(LOCK.read_text())["stages"])
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(
            f"{LOCK.absolute()} is not a lock file of DVC ({error}). Restore it with `git checkout {LOCK}`, or delete "
            "it and run `dvc repro`."
        ) from None


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def file_md5(path: Path) -> str:
    """MD5 of a file's content, as DVC names it in its lock file and cache."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()


def commit() -> str:
    """Hash of the commit that is checked out; empty outside a Git repository."""
    return _git("rev-parse", "--verify", "-q", "HEAD").decode().strip()


def uncommitted_changes() -> bytes:
    """Patch from the commit to :data:`SOURCES` as they are on disk, new files included; empty where they agree."""
    with tempfile.TemporaryDirectory() as folder:
        # A copy, so that the user's index stays as it is: `git diff` shows new files once they are in one. A workspace
        # marks params.yaml in its index when only the overrides of its run differ.
        index = str(Path(folder) / "index")
        original = Path(_git("rev-parse", "--git-path", "index").decode().strip())
        if not original.is_file():
            return b""
        shutil.copy2(original, index)
        _git("add", "--intent-to-add", "--", *(source for source in SOURCES if Path(source).exists()), index=index)
        return _git("diff", "--binary", "--no-color", "--no-ext-diff", "HEAD", "--", *SOURCES, index=index)


def _git(*arguments: str, index: str | None = None) -> bytes:
    """Output of a git command; empty where it fails, or where there is no git."""
    environment = os.environ | ({"GIT_INDEX_FILE": index} if index else {})
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, env=environment, check=False)
    except FileNotFoundError:
        return b""
    return done.stdout if done.returncode == 0 else b""
