"""Any tracked run in a fresh folder: its code with the changes nobody committed, parameters, lock file, data, model."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from pipeline import console, mlflow_client
from pipeline.errors import UserError
from pipeline.files import MODELS, RECORD
from pipeline.provenance import file_md5
from pipeline.publish import default_remote, dvc
from pipeline.registry import MODEL_FOLDER, download, get_run
from pipeline.tracking import MODEL_RUN
from pipeline.workspace import lay_out, toplevel

PROVENANCE = "provenance"
PATCH = "uncommitted.patch"


def checkout_run(run_id: str, folder: Path) -> dict[str, Any]:
    """Lay out a tracked run; outputs come from DVC's cache, else from its remote, the model else from MLflow.

    Returns:
        the folder, its commit, whether a patch was applied, and the outputs that are nowhere any more.

    Raises:
        UserError: no such run, a place that is taken, or a commit that is not in this repository.
        TransientError: the tracking server does not answer.
    """
    folder = folder.absolute()
    _check_free(folder)
    checkout = toplevel()
    with (
        TemporaryDirectory() as recorded,
        mlflow_client.clear_errors("hand the run out", f"python -m pipeline checkout {run_id}"),
        mlflow_client.patience(*mlflow_client.TRACK_PATIENCE),
    ):
        client = mlflow_client.client()
        run = get_run(client, run_id)
        provenance = Path(download(client, run_id, PROVENANCE, recorded))
        commit = _commit(checkout, run)
        patch = provenance / PATCH if (provenance / PATCH).exists() else None
        try:
            lay_out(checkout, folder, commit, (provenance / "params.yaml").read_text(), patch)
            missing = _restore(client, run, provenance / "dvc.lock", folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    _tell(folder, missing)
    return {"folder": str(folder), "commit": commit, "patched": patch is not None, "missing": missing}


def _check_free(folder: Path) -> None:
    in_the_way = next((path for path in (folder, *folder.parents) if path.exists() and not path.is_dir()), None)
    if in_the_way:
        raise UserError(f"{in_the_way} is a file; name a folder that does not exist yet.")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; name a folder that does not exist yet.")


def _commit(checkout: Path, run: Any) -> str:
    """The commit a run was made at, which must be in the checkout."""
    commit = str(run.data.tags.get("wsol.git_commit", "unknown"))
    if commit == "unknown":
        raise UserError(f"run {run.info.run_id} was tracked outside of Git: its code is not known.")
    look = ["git", "cat-file", "-e", f"{commit}^{{commit}}"]
    if subprocess.run(look, cwd=checkout, capture_output=True, check=False).returncode:
        raise UserError(
            f"run {run.info.run_id} was made at commit {commit}, which {checkout} does not have; `git fetch` it from "
            "the repository it was made in."
        )
    return commit


def _restore(client: Any, run: Any, lock: Path, folder: Path) -> list[str]:
    """Bring the outputs of the run's lock file into the folder; returns those that are nowhere."""
    if not lock.exists():
        raise UserError(f"run {run.info.run_id} was tracked without a dvc.lock: its data cannot be told.")
    shutil.copy2(lock, folder / "dvc.lock")
    outs = {Path(out["path"]): out for out in _outs(lock)}
    dvc(folder, "checkout", "--quiet", "--force", "--allow-missing")
    if any(not (folder / path).exists() for path in outs) and default_remote(folder):
        dvc(folder, "pull", "--quiet", "--force", "--allow-missing")
    _restore_model(client, run, outs, folder)
    return [str(path) for path in outs if not (folder / path).exists()]


def _outs(lock: Path) -> Iterator[Mapping[str, Any]]:
    for entry in yaml.safe_load(lock.read_text())["stages"].values():
        yield from entry.get("outs", [])


def _restore_model(client: Any, run: Any, outs: Mapping[Path, Mapping[str, Any]], folder: Path) -> None:
    """The model is among the run's artifacts as well; it is taken where it is the one of the lock file."""
    for path in (MODELS / "model.pt", MODELS / RECORD, MODELS / "training.json"):
        if path not in outs or (folder / path).exists():
            continue
        holder = run.data.tags.get(MODEL_RUN, run.info.run_id)
        with TemporaryDirectory() as fetched:
            file = Path(download(client, holder, f"{MODEL_FOLDER}/{path.name}", fetched))
            if file_md5(file) == outs[path].get("md5"):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file, folder / path)


def _tell(folder: Path, missing: list[str]) -> None:
    console.say(f"{folder} holds the run")
    if missing:
        console.warn(
            f"neither DVC's cache nor a remote has {', '.join(missing)}; `python -m pipeline repro` there makes them "
            "anew."
        )
