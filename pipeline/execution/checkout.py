"""Any tracked run in a fresh folder: its code with the changes nobody committed, parameters, lock file, data, model.

All that the server says of the run is checked before it is used, and nothing outside of the folder is made or removed.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline import console
from pipeline.errors import UserError
from pipeline.execution.preflight import refuse_outputs_inside
from pipeline.execution.publish import default_remote
from pipeline.execution.workspace import clone, configure, link_shared, relative_paths
from pipeline.files import MODELS, RECORD, write_bytes
from pipeline.params import PARAMS_FILE
from pipeline.system.dvc import LOCK, Stages, dvc, outputs, read_stages
from pipeline.system.git import GitError, commit_of, git, toplevel
from pipeline.tracking import recorded, server
from pipeline.tracking.provenance import SOURCES, file_md5
from pipeline.tracking.registry import MODEL_FOLDER, artifact_names, download, fetch, get_run
from pipeline.tracking.tags import COMMIT, DIRTY, MODEL_RUN, UNKNOWN

PROVENANCE = "provenance"
PATCH = "uncommitted.patch"


def checkout_run(run_id: str, folder: Path) -> dict[str, Any]:
    """Lay out a tracked run; outputs come from DVC's cache, else from its remote, the model else from MLflow.

    Returns:
        the folder, its commit, whether a patch was applied, and the outputs that are nowhere any more.

    Raises:
        UserError: no such run, a place that is taken, a commit that is not in this repository, or a record that would
            reach out of the folder.
        TransientError: the tracking server does not answer.
    """
    recorded.run_id(run_id)
    folder = folder.resolve()
    _check_free(folder)
    checkout = toplevel(Path.cwd())
    with (
        TemporaryDirectory() as fetched,
        server.clear_errors("hand the run out", f"python -m pipeline checkout {run_id}"),
        server.patience(*server.TRACK_PATIENCE),
    ):
        client = server.client()
        run = get_run(client, run_id)
        commit = _commit(checkout, run)
        kept = _fetch_record(client, run, Path(fetched))
        patch = kept.get(PATCH)
        params, lock = _params(run_id, kept[str(PARAMS_FILE)], checkout), recorded.lock(run_id, kept[str(LOCK)])
        recorded.check_lock(lock, folder)
        with _as_before(folder), _emptied(folder):
            clone(checkout, folder, commit)
            if patch:
                _apply(folder, patch)
            configure(checkout, folder, params)
            write_bytes(folder / LOCK, kept[str(LOCK)].read_bytes())
            missing = _restore(client, run, lock, folder)
            # Last: DVC removes what does not belong to an output, and must not find the user's data here.
            outside = link_shared(checkout, folder, params, within=folder)
    _tell(folder, missing, outside)
    return {"folder": str(folder), "commit": commit, "patched": patch is not None, "missing": missing}


def _check_free(folder: Path) -> None:
    in_the_way = next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None)
    if in_the_way:
        raise UserError(f"{in_the_way} is a file; name a folder that does not exist yet.")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; name a folder that does not exist yet.")


def _commit(checkout: Path, run: Any) -> str:
    """The commit a run was made at, which must be in the checkout."""
    commit = str(run.data.tags.get(COMMIT, UNKNOWN))
    if commit == UNKNOWN:
        raise UserError(f"run {run.info.run_id} was tracked outside of Git: its code is not known.")
    try:
        return commit_of(checkout, recorded.commit(commit))
    except GitError:
        raise UserError(
            f"run {run.info.run_id} was made at commit {commit}, which {checkout} does not have; `git fetch` it from "
            "the repository it was made in."
        ) from None


def _fetch_record(client: Any, run: Any, folder: Path) -> dict[str, Path]:
    """The files that a run's code and data are known by, by name; the patch only where there is one.

    A patch may be left of a `track` that was stopped, before what it holds was committed.
    """
    run_id, names = run.info.run_id, [str(LOCK), str(PARAMS_FILE)]
    if run.data.tags.get(DIRTY) == "true" and f"{PROVENANCE}/{PATCH}" in artifact_names(client, run_id, PROVENANCE):
        names.append(PATCH)
    return {name: fetch(client, run_id, f"{PROVENANCE}/{name}", folder) for name in names}


def _params(run_id: str, file: Path, checkout: Path) -> str:
    with recorded.reading(run_id, f"{PROVENANCE}/{PARAMS_FILE}"):
        text = file.read_text()
    recorded.parameters(text)
    for path in relative_paths(text):
        refuse_outputs_inside(path, checkout)
    return text


@contextmanager
def _as_before(folder: Path) -> Iterator[None]:
    """Remove the folders that were made for it when the block fails."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        with suppress(OSError):  # somebody else uses it by now
            for path in made:
                path.rmdir()
        raise


@contextmanager
def _emptied(folder: Path) -> Iterator[None]:
    """Remove what was laid out in the folder, which was empty or not there before, when the block fails."""
    try:
        yield
    except BaseException:
        for path in folder.iterdir() if folder.exists() else ():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        raise


def _apply(folder: Path, patch: Path) -> None:
    """Apply the changes that nobody committed: Git keeps them inside of the folder, and this within its sources."""
    git(folder, "apply", "--whitespace=nowarn", "--", str(patch))
    status = git(folder, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--ignored")
    changed = [entry[3:] for entry in status.split("\0")[:-1]]
    if foreign := [path for path in changed if Path(path).parts[0] not in SOURCES]:
        raise UserError(f"the run's patch changes {', '.join(foreign)}, which no run records; nothing was made.")
    if made := [path for path in changed if (folder / path).is_symlink()]:
        raise UserError(
            f"the run's patch makes a link of {', '.join(made)}, which may lead anywhere; nothing was made."
        )


def _restore(client: Any, run: Any, lock: Stages, folder: Path) -> list[str]:
    """Bring the outputs of the run's lock file into the folder; returns those that are nowhere."""
    recorded.check_lock(lock, folder)
    outs = {out["path"]: out for entry in lock.values() for out in entry.get("outs", [])}
    stages = read_stages(folder / "dvc.yaml")
    recorded.check_stages(stages, folder, set(outs), SOURCES)
    # Named one by one, DVC touches no others.
    named = [path for stage in stages.values() for path in outputs(stage) if path in outs]
    if named:
        dvc(folder, "checkout", "--quiet", "--force", "--allow-missing", "--", *named)
    if named and any(not (folder / path).exists() for path in outs) and default_remote(folder):
        dvc(folder, "pull", "--quiet", "--force", "--allow-missing", "--", *named)
    _restore_model(client, run, outs, folder)
    return [path for path in outs if not (folder / path).exists()]


def _restore_model(client: Any, run: Any, outs: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """The model is among the run's artifacts as well; it is taken where it is the one of the lock file."""
    holder = recorded.run_id(run.data.tags.get(MODEL_RUN, run.info.run_id))
    kept = artifact_names(client, holder, MODEL_FOLDER)
    for path in (str(MODELS / name) for name in ("model.pt", RECORD, "training.json")):
        artifact = f"{MODEL_FOLDER}/{Path(path).name}"
        if path not in outs or (folder / path).exists() or artifact not in kept:
            continue
        with TemporaryDirectory() as fetched:
            file = download(client, holder, artifact, Path(fetched))
            if file_md5(file) == outs[path].get("md5"):
                target = recorded.place(folder, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)


def _tell(folder: Path, missing: list[str], outside: list[Path]) -> None:
    console.say(f"{folder} holds the run")
    if missing:
        console.warn(
            f"neither DVC's cache nor a remote has {', '.join(missing)}; `python -m pipeline repro` there makes them "
            "anew."
        )
    for place in (Path(os.path.normpath(folder / path)) for path in outside):
        console.warn(
            f"the run read data or weights at what here is {place}, outside of the folder, where this command makes "
            f"nothing; before `python -m pipeline repro` they must lie, or be linked, there."
        )
