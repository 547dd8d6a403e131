"""What Airflow adds to a run in which nothing has changed: `wsol_retrain` against the same `dvc repro` calls.

``python -m benchmarks.bench_dag`` prints a table and writes ``benchmarks/out/dag.json``. A scheduler with LocalExecutor
runs the DAG in the ``process`` runtime, in a workspace of its own, triggered over the REST API; nothing is to be done
but `track`, which always runs. The same commands are then run one after the other in such a workspace. Set-up
(workspace, check), promotion and removal are reported apart. The target is 2 s for each stage.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
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
from tests.servers import AirflowApi, free_port  # noqa: E402

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
        with _airflow(project) as port:
            # The first run of a workspace compiles bytecode and restores outputs as all later ones do.
            runs = [_dag_run(port, project, stages) for _ in range(RUNS + 1)][1:]
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
    frame = {name: median(run[name] for run in runs) for name in ("setup", "promotion", "teardown")}
    console.say(
        f"added per task, waiting for the scheduler included: {per_task:.2f} s (target: at most {TARGET:.0f} s)"
    )
    console.say(", ".join(f"{name} {seconds:.2f} s" for name, seconds in frame.items()))
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
def _airflow(project: Path) -> Iterator[int]:
    """The port of Airflow's API while its servers run."""
    airflow, mlflow = free_port(), free_port()
    command = [sys.executable, "-m", "pipeline", "ui", f"--airflow-port={airflow}", f"--mlflow-port={mlflow}"]
    process = subprocess.Popen(
        command, cwd=project, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield airflow
    finally:
        process.terminate()
        process.wait(60)


def _api(port: int, project: Path) -> AirflowApi:
    """Airflow's API, when it answers and knows the DAG."""
    for _ in range(240):
        try:
            api = AirflowApi(port, project / ".wsol")
            api("PATCH", "/api/v2/dags/wsol_retrain", {"is_paused": False})
            return api
        except OSError:
            time.sleep(1)
    raise SystemExit("Airflow does not answer; see .wsol/airflow/logs")


def _dag_run(port: int, project: Path, stages: list[str]) -> dict[str, Any]:
    """Seconds of each task, from the first stage's start to the last one's end, and of what is around them."""
    runs = "/api/v2/dags/wsol_retrain/dagRuns"
    api = _api(port, project)
    run = f"{runs}/{api('POST', runs, {'logical_date': None})['dag_run_id']}"
    while (state := api("GET", run)["state"]) not in ("success", "failed"):
        time.sleep(1)
    if state == "failed":
        raise SystemExit(f"{run} failed; see the Airflow logs")
    found = api("GET", f"{run}/taskInstances")["task_instances"]
    start = {task["task_id"]: datetime.fromisoformat(task["start_date"]) for task in found}
    end = {task["task_id"]: datetime.fromisoformat(task["end_date"]) for task in found}
    first, last = min(start[stage] for stage in stages), max(end[stage] for stage in stages)
    return {
        "tasks": {task: (end[task] - start[task]).total_seconds() for task in start},
        "stages": (last - first).total_seconds(),
        "setup": (first - start["workspace"]).total_seconds(),
        "promotion": (end["publish"] - last).total_seconds(),
        "teardown": (end["remove_workspace"] - end["publish"]).total_seconds(),
    }


if __name__ == "__main__":
    main()
