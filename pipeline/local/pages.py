"""The MLflow and Airflow pages on this machine: started together, watched, stopped together; loopback only."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipeline import console
from pipeline.errors import UserError, WsolError
from pipeline.execution.preflight import check_place, check_writable
from pipeline.local import mlflow_home
from pipeline.local.airflow_home import (
    DAG_ID,
    USER,
    airflow_command,
    airflow_environment,
    airflow_home,
    check_places,
    fail_abandoned_runs,
    is_paused,
    lock_file,
    password_file,
    set_up,
)
from pipeline.params import load_params
from pipeline.system.locks import exclusive_lock, is_held
from pipeline.system.ports import HOST, check_free
from pipeline.system.processes import kept
from pipeline.system.state import shown_uri, state_folder
from pipeline.tracking import server as tracking_server
from pipeline.tracking import views

#: Where MLflow shows experiments; its start page is about language models.
RUNS = "/#/experiments?workflowType=machine_learning"
#: Seconds until the pages must answer, and until their processes must have ended.
START_LIMIT = 180
STOP_LIMIT = 10


@dataclass(frozen=True, eq=False)
class Server:
    """One process behind the pages."""

    name: str
    command: list[str]
    environment: Mapping[str, str]

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return airflow_home() / "logs" / f"{self.name}.log"


def serve(checkout: Path, airflow_port: int, mlflow_port: int) -> None:
    """Start the pages and keep them until this process is told to stop.

    Raises:
        UserError: a port is taken, params.yaml is wrong, or the state folder cannot be written.
        TransientError: the pages are being served already.
        WsolError: one of the processes ended; the message names its log.
    """
    params = load_params()
    check_place(checkout, state_folder())
    check_places(checkout)
    check_writable(state_folder())
    external = os.environ.get("MLFLOW_TRACKING_URI")
    with exclusive_lock(lock_file("ui"), "another `ui`") as lock:
        for port, option in [(airflow_port, "--airflow-port"), *([] if external else [(mlflow_port, "--mlflow-port")])]:
            check_free(port, option)
        console.say("starting the pages, this takes half a minute …")
        set_up(checkout)
        if is_held(lock_file("run")):
            _refuse_a_second_scheduler()
        else:
            fail_abandoned_runs()
        pages = {"Airflow": f"http://{HOST}:{airflow_port}"}
        pages |= {} if external else {"MLflow": f"http://{HOST}:{mlflow_port}"}
        servers = [*_airflow(airflow_port, pages), *([] if external else [_mlflow(mlflow_port)])]
        with _running(servers, lock) as processes:
            _wait_until_up([f"{url}/{_health(name)}" for name, url in pages.items()], processes)
            _announce(pages, external, params.track.experiment)
            while True:
                _check_alive(processes)
                time.sleep(1)


def _refuse_a_second_scheduler() -> None:
    """The scheduler of the page would run the tasks of a `run` that is at work too."""
    if not is_paused():
        raise UserError(
            f"a `run` is at work, and the DAG {DAG_ID} is not paused: the page's scheduler would run its tasks a "
            "second time. Wait until the run ends."
        )


def _health(page: str) -> str:
    return "api/v2/monitor/health" if page == "Airflow" else "health"


def _announce(pages: Mapping[str, str], external: str | None, experiment: str) -> None:
    console.say(f"Airflow  {pages['Airflow']}")
    console.say(f"MLflow   {shown_uri(external) if external else pages['MLflow'] + _results(experiment)}")
    console.say(f"Sign in to {' and '.join(pages)} as {USER}; the password is in {password_file()}")
    console.say("Ctrl-C stops the pages.")


def _results(experiment: str) -> str:
    """Where the view of results is, below MLflow's address; that of all experiments until a run was tracked."""
    with suppress(Exception):  # whatever keeps MLflow from answering, it shows its own page
        client = tracking_server.client()
        if found := client.get_experiment_by_name(experiment):
            views.arrange(client, found.experiment_id)
            return views.address(found.experiment_id, views.RESULTS)
    return RUNS


def _airflow(port: int, pages: Mapping[str, str]) -> list[Server]:
    url = pages["Airflow"]
    environment = airflow_environment() | {
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        # For links in messages.
        "WSOL_MLFLOW_PAGE": pages.get("MLflow", ""),
    }
    # Without --skip-serve-logs the scheduler and the triggerer serve logs on all interfaces.
    commands = {
        "api-server": ["api-server"],
        "scheduler": ["scheduler", "--skip-serve-logs"],
        "dag-processor": ["dag-processor"],
        "triggerer": ["triggerer", "--skip-serve-logs"],
    }
    return [Server(name, airflow_command(*arguments), environment) for name, arguments in commands.items()]


def _mlflow(port: int) -> Server:
    mlflow_home.set_up()
    address = ["--host", HOST, "--port", str(port)]
    command = [sys.executable, "-m", "uvicorn", "--factory", *address, "pipeline.local.mlflow_app:create_app"]
    return Server("mlflow", command, mlflow_home.server_environment())


@contextmanager
def _running(servers: list[Server], lock: IO[str]) -> Iterator[dict[Server, subprocess.Popen[str]]]:
    """The servers' processes; they and everything they started are gone when the block ends."""
    with ExitStack() as stack:
        processes = {server: stack.enter_context(_started(server, lock)) for server in servers}
        try:
            yield processes
        finally:
            console.say("stopping the pages …")
            # All at once; the stack then waits for one after the other.
            for process in processes.values():
                process.terminate()


@contextmanager
def _started(server: Server, lock: IO[str]) -> Iterator[subprocess.Popen[str]]:
    with (
        server.log.open("ab") as log,
        kept(
            server.command, STOP_LIMIT, locks=[lock], env=server.environment,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        ) as process,
    ):  # fmt: skip
        yield process


def _wait_until_up(urls: list[str], processes: Mapping[Server, subprocess.Popen[str]]) -> None:
    deadline = time.monotonic() + START_LIMIT
    while not all(_answers(url) for url in urls):
        _check_alive(processes)
        if time.monotonic() > deadline:
            raise WsolError(
                f"the pages do not answer after {START_LIMIT} s; see the logs in {airflow_home() / 'logs'}."
            )
        time.sleep(0.5)


def _answers(url: str) -> bool:
    try:
        # Never by way of a proxy that the environment names.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _check_alive(processes: Mapping[Server, subprocess.Popen[str]]) -> None:
    for server, process in processes.items():
        if process.poll() is not None:
            raise WsolError(f"{server.name} ended with exit code {process.returncode}; see {server.log}.")
