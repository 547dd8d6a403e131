"""Where a result came from: the commit, the changes upon it, and the content hashes of ``dvc.lock``."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import UserError
from pipeline.files import BOXES, CAMS, METRICS, MODELS, PREPARED, RECORD, content
from pipeline.manifest import read_facts
from pipeline.records import Inputs, Training
from pipeline.results import read_history, read_training

LOCK = Path("dvc.lock")
#: What makes a result, beside data: a run is dirty when one of these differs from the commit.
SOURCES = ("pipeline", "dvc.yaml", "params.yaml")
#: What `evaluate` wrote, by which a result is known.
RESULT = tuple(METRICS / name for name in ("metrics.json", "threshold_curve.csv", "per_image.parquet", RECORD))
MODEL = MODELS / "model.pt"
#: What `train` wrote and `track` records.
TRAINED = (MODEL, MODELS / RECORD, MODELS / "training.json", MODELS / "history.csv")


@dataclass(frozen=True)
class Result:
    """What identifies a result and its makings.

    Attributes:
        run_key: hash of evaluate's entry in ``dvc.lock``; of the result files where the lock does not describe them.
        data_hash: of ``data/prepared``, image contents included.
        model_hash: MD5 of ``models/model.pt``.
        from_lock: whether the keys are those of ``dvc.lock``.
        training: of the model.
        params: by dotted key, those that the stages ran with, whatever params.yaml holds now.
    """

    run_key: str
    data_hash: str
    model_hash: str
    from_lock: bool
    training: Training
    params: Mapping[str, Any]


def read_result() -> Result:
    """Identify the result that lies in the working folder.

    Its files must be one chain, from the scores to the model and, as far as they are here, boxes, maps and data.
    ``dvc.lock`` counts where it describes the scores that are there; stages that were run by hand, here or on another
    machine, are known by the files themselves.

    Raises:
        UserError: a file is missing, was changed or comes from another run, or ``dvc.lock`` cannot be read.
    """
    others = [folder for folder in (PREPARED, CAMS, BOXES) if folder.exists()]
    inputs = Inputs(*others, MODELS, METRICS)
    hashes = {path: _verified_md5(inputs, path) for path in (*RESULT, *TRAINED)}
    lock, training = _read_lock(), read_training(inputs)
    read_history(training)
    outs = {Path(out["path"]): out.get("md5", "") for entry in lock.values() for out in entry.get("outs", [])}
    from_lock = all(outs.get(path) == hashes[path] for path in RESULT)
    if from_lock:
        _check_locked({path: hashes[path] for path in TRAINED}, outs)
        run_key, data_hash = _hash(lock["evaluate"]), outs.get(PREPARED, "")
    else:
        run_key = _hash(sorted(hashes[path] for path in (*RESULT, MODEL)))
        data_hash = read_facts(read=inputs.read).content_hash if PREPARED in others else ""
    return Result(run_key, data_hash, hashes[MODEL], from_lock, training, inputs.settings())


def _verified_md5(inputs: Inputs, path: Path) -> str:
    """MD5 of a file, which must be the one its record names where there is one that does."""
    named = path.name in inputs.records[path.parent].files
    return hashlib.md5(inputs.read(path) if named else content(path)).hexdigest()


def _check_locked(hashes: Mapping[Path, str], outs: Mapping[Path, str]) -> None:
    for path, value in hashes.items():
        if outs.get(path) != value:
            raise UserError(
                f"{path.absolute()} is not the one that {LOCK} names, though the scores are: it was replaced after the "
                f"run. Bring it back with `dvc checkout --force {path}`, or run `python -m pipeline repro`."
            )


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
