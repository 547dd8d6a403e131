"""The command ``publish``: the result's files in DVC's remote, so that the run can be checked out elsewhere."""

from pathlib import Path
from typing import Any

from pipeline import console
from pipeline.errors import TransientError, UserError
from pipeline.params import load_params
from pipeline.system.dvc import LOCK, dvc
from pipeline.tracking import server
from pipeline.tracking.provenance import Result, read_result
from pipeline.tracking.registry import find_run
from pipeline.tracking.tags import PUBLISHED


def publish() -> dict[str, Any]:
    """Push what ``dvc.lock`` names to the default remote, and keep the lock file with the MLflow run.

    Returns:
        the remote's name, None where there is none, and the run.

    Raises:
        TransientError: the remote or the tracking server does not answer.
        UserError: the result was not tracked, or was not made by DVC.
    """
    remote = default_remote(Path.cwd())
    if not remote:
        console.say("no remote configured, nothing pushed: `dvc remote add -d NAME URL` names one")
        return {"remote": None}
    result = read_result()
    if not result.from_lock:
        raise UserError("dvc.lock does not describe the result in this folder. Run `python -m pipeline repro` first.")
    done = dvc(Path.cwd(), "push", "--quiet")
    if done.returncode:
        raise TransientError(
            f"`dvc push` to remote {remote!r} failed: {_last_line(done.stderr)}. What was pushed stays; run "
            "`python -m pipeline publish` again."
        )
    run_id = _record(remote, result)
    console.say(f"pushed to remote {remote!r}; `python -m pipeline checkout {run_id}` brings the run back anywhere")
    return {"remote": remote, "run_id": run_id}


def _record(remote: str, result: Result) -> str:
    with (
        server.clear_errors("record the push", "python -m pipeline publish"),
        server.patience(*server.TRACK_PATIENCE),
    ):
        client = server.client()
        run = find_run(client, load_params().track.experiment, result.run_key, result.training.train_key)
        if run is None:
            raise UserError("the result in this folder has no row in MLflow. Run `python -m pipeline track` first.")
        kept = {item.path for item in client.list_artifacts(run.info.run_id, "provenance")}
        if f"provenance/{LOCK}" not in kept:
            client.log_artifact(run.info.run_id, str(LOCK), "provenance")
        client.set_tag(run.info.run_id, PUBLISHED, remote)
        return str(run.info.run_id)


def default_remote(folder: Path) -> str:
    """Name of DVC's default remote; empty where there is none."""
    done = dvc(folder, "config", "core.remote")
    return done.stdout.strip() if done.returncode == 0 else ""


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]
