"""Where a result came from: the commit, the changes upon it, and the content hashes of ``dvc.lock``."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.data.manifest import read_facts
from pipeline.errors import UserError
from pipeline.files import BOXES, CAMS, METRICS, MODELS, PREPARED, RECORD, content
from pipeline.records import Inputs, Training
from pipeline.results import read_history, read_training
from pipeline.system.dvc import LOCK, read_lock
from pipeline.system.git import GitError, git, git_bytes, head

#: What makes a result, beside data: a run is dirty when one of these differs from the commit.
SOURCES = ("pipeline", "dvc.yaml", "params.yaml")
#: What `evaluate` wrote, by which a result is known.
RESULT = tuple(
    METRICS / name for name in ("metrics.json", "threshold_curve.csv", "per_image.parquet", "reliability.json", RECORD)
)
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
    lock, training = read_lock(), read_training(inputs)
    read_history(training)
    outs = {Path(out["path"]): out.get("md5", "") for entry in lock.values() for out in entry.get("outs", [])}
    from_lock = "evaluate" in lock and all(outs.get(path) == hashes[path] for path in RESULT)
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


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def file_md5(path: Path) -> str:
    """MD5 of a file's content, as DVC names it in its lock file and cache."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest()


@dataclass(frozen=True)
class Revision:
    """What the working folder is, by Git.

    Attributes:
        commit: hash of the commit that is checked out.
        patch: from the commit to :data:`SOURCES` as they are on disk, new files included; empty where they agree.
    """

    commit: str
    patch: bytes


def current_revision() -> Revision:
    """The revision of the working folder.

    Raises:
        GitError: Git is missing, refuses to look into the folder, or has nothing to say of it.
    """
    commit = head(Path())
    if not commit:
        raise GitError(f"nothing was committed yet in {Path.cwd()}.")
    return Revision(commit, uncommitted_changes())


def uncommitted_changes() -> bytes:
    """Patch from the commit to :data:`SOURCES` as they are on disk, new files included; empty where they agree.

    Raises:
        GitError: Git is missing or refuses.
    """
    with tempfile.TemporaryDirectory() as folder:
        # A copy, so that the user's index stays as it is: `git diff` shows new files once they are in one. A workspace
        # marks params.yaml in its index when only the overrides of its run differ.
        index = Path(folder) / "index"
        original = Path(git(Path(), "rev-parse", "--git-path", "index").removesuffix("\n"))
        if not original.is_file():
            return b""
        shutil.copy2(original, index)
        variables = {"GIT_INDEX_FILE": str(index)}
        sources = [source for source in SOURCES if Path(source).exists()]
        git_bytes(Path(), "add", "--intent-to-add", "--", *sources, variables=variables)
        # Whatever the user has set for people to read: `git apply` is to read it.
        plain = ("--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/", "--unified=3")
        return git_bytes(Path(), "diff", "--binary", *plain, "HEAD", "--", *SOURCES, variables=variables)
