"""What Airflow adds to a run in which nothing has changed: `wsol_retrain` against the same `dvc repro` calls.

``python -m benchmarks.bench_dag`` prints a table and writes ``benchmarks/out/dag.json``. A scheduler with LocalExecutor
runs the DAG in the ``process`` runtime, in a workspace of its own, triggered over the REST API; nothing is to be done
but `track`, which always runs. The same commands are then run one after the other in such a workspace. Set-up
(workspace, check) and removal are reported apart. The target is 2 s for each task.
"""

import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from pipeline import console

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.project import environment, make_project, pipeline  # noqa: E402

OUT = ROOT / "benchmarks/out/dag.json"
RUNS = 3
TARGET = 2.0


def main() -> None:
    """Measure both, and say what the difference is for each task."""
    with tempfile.TemporaryDirectory() as name:
        project = make_project(Path(name) / "project")
        stages = list(yaml.safe_load((project / "dvc.yaml").read_text())["stages"])
        filled = pipeline(project, "repro")
        if filled.returncode:
            raise SystemExit(filled.stderr)
        with _airflow(project) as address:
            # The first run of a workspace compiles bytecode and restores outputs as all later ones do.
            runs = [_dag_run(address, project) for _ in range(RUNS + 1)][1:]
        alone = [_alone(project, stages, f"alone-{i}") for i in range(RUNS)]
    _report(stages, runs, alone)


def _report(stages: list[str], runs: list[dict[str, Any]], alone: list[dict[str, float]]) -> None:
    median = statistics.median
    in_dag = {stage: median(run["tasks"][stage] for run in runs) for stage in stages}
    by_hand = {stage: median(run[stage] for run in alone) for stage in stages}
    span, total = median(run["stages"] for run in runs), median(sum(run.values()) for run in alone)
    rows = [(s, f"{by_hand[s]:.2f}", f"{in_dag[s]:.2f}", f"{in_dag[s] - by_hand[s]:+.2f}") for s in stages]
    rows.append(("all, first start to last end", f"{total:.2f}", f"{span:.2f}", f"{span - total:+.2f}"))
    console.table("Seconds, nothing changed", ("stage", "dvc repro", "DAG", "difference"), rows)
    per_task = (span - total) / len(stages)
    frame = {name: median(run[name] for run in runs) for name in ("setup", "teardown")}
    console.say(
        f"added per task, waiting for the scheduler included: {per_task:.2f} s (target: at most {TARGET:.0f} s)"
    )
    console.say(f"set-up {frame['setup']:.2f} s, teardown {frame['teardown']:.2f} s")
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(
        json.dumps({"added_per_task_s": per_task, "dag_s": in_dag, "dvc_s": by_hand} | frame, indent=1) + "\n"
    )


def _alone(project: Path, stages: list[str], run: str) -> dict[str, float]:
    """Seconds of `dvc repro --single-item` for each stage, in a new workspace."""
    made = pipeline(project, "workspace", "create", run)
    workspace = json.loads(made.stdout)["workspace"]
    seconds = {}
    for stage in stages:
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "dvc", "repro", "--single-item", stage],
            cwd=workspace, env=environment(), check=True, capture_output=True,
        )  # fmt: skip
        seconds[stage] = time.perf_counter() - start
    pipeline(project, "workspace", "remove", run)
    return seconds


@contextmanager
def _airflow(project: Path) -> Iterator[str]:
    """The address of Airflow's API while its servers run."""
    airflow, mlflow = _free_port(), _free_port()
    command = [sys.executable, "-m", "pipeline", "ui", f"--airflow-port={airflow}", f"--mlflow-port={mlflow}"]
    process = subprocess.Popen(
        command, cwd=project, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield f"http://127.0.0.1:{airflow}"
    finally:
        process.terminate()
        process.wait(60)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _dag_run(address: str, project: Path) -> dict[str, Any]:
    """Seconds of each task, from the first stage's start to the last one's end, and of what is around them."""
    token = ""
    dag = f"{address}/api/v2/dags/wsol_retrain"
    for _ in range(240):
        try:
            password = json.loads((project / ".wsol/airflow/passwords.json").read_text())["admin"]
            token = _call("POST", f"{address}/auth/token", {"username": "admin", "password": password})["access_token"]
            _call("PATCH", dag, {"is_paused": False}, token)
            break
        except (urllib.error.URLError, OSError):
            time.sleep(1)
    run = _call("POST", f"{dag}/dagRuns", {"logical_date": None}, token)["dag_run_id"]
    while (state := _call("GET", f"{dag}/dagRuns/{run}", token=token)["state"]) not in ("success", "failed"):
        time.sleep(1)
    if state == "failed":
        raise SystemExit(f"run {run} failed; see the Airflow logs")
    found = _call("GET", f"{dag}/dagRuns/{run}/taskInstances", token=token)["task_instances"]
    start = {task["task_id"]: datetime.fromisoformat(task["start_date"]) for task in found}
    end = {task["task_id"]: datetime.fromisoformat(task["end_date"]) for task in found}
    frame = {"workspace", "check", "remove_workspace"}
    first, last = min(start[t] for t in start if t not in frame), max(end[t] for t in end if t not in frame)
    return {
        "tasks": {task: (end[task] - start[task]).total_seconds() for task in start},
        "stages": (last - first).total_seconds(),
        "setup": (first - start["workspace"]).total_seconds(),
        "teardown": (end["remove_workspace"] - last).total_seconds(),
    }


def _call(method: str, address: str, body: Any = None, token: str = "") -> Any:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(address, data, headers, method=method), timeout=30) as answer:
        return json.load(answer)


if __name__ == "__main__":
    main()
