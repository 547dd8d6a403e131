"""A task of the ``docker`` runtime as Airflow runs it, with an engine and nothing else."""

import sys
from types import SimpleNamespace
from typing import Any

from tests.project import ROOT

sys.path.insert(0, str(ROOT / "dags"))
from wsol_dags.runtimes.containers import Settings
from wsol_dags.runtimes.docker import DockerRuntime


def run_task(name: str, arguments: list[str], folder: str, gpus: int = 0, **variables: str) -> Any:
    """What its command returns; ``variables`` are Airflow's environment."""
    context = {"run_id": "r", "ti": SimpleNamespace(dag_id="d", run_id="r", task_id=name, map_index=-1)}
    runtime = DockerRuntime(Settings.from_environment({"WSOL_NETWORK": "none"} | variables))
    return runtime.command(arguments, folder, gpus, task_id=name).execute(context)
