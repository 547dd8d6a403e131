"""The MLflow and Airflow pages on this machine: started together, watched, stopped together; loopback only."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline import console
from pipeline.airflow_home import (
    USER,
    airflow_command,
    airflow_environment,
    airflow_home,
    fail_abandoned_runs,
    is_held,
    only_one,
    password_file,
    set_up,
)
from pipeline.errors import UserError, WsolError
from pipeline.local import mlflow_home
from pipeline.params import load_params
from pipeline.preflight import check_writable
from pipeline.state import shown_uri, state_folder

HOST = "127.0.0.1"
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
    load_params()
    check_writable(state_folder())
    external = os.environ.get("MLFLOW_TRACKING_URI")
    for port, option in [(airflow_port, "--airflow-port"), *([] if external else [(mlflow_port, "--mlflow-port")])]:
        _check_free(port, option)
    with only_one("ui", "another `ui`"):
        console.say("starting the pages, this takes half a minute …")
        set_up(checkout)
        if not is_held("run"):
            fail_abandoned_runs()
        pages = {"Airflow": f"http://{HOST}:{airflow_port}"}
        pages |= {} if external else {"MLflow": f"http://{HOST}:{mlflow_port}"}
        servers = [*_airflow(airflow_port, pages), *([] if external else [_mlflow(mlflow_port)])]
        with _running(servers) as processes:
            _wait_until_up([f"{url}/{_health(name)}" for name, url in pages.items()], processes)
            _announce(pages, external)
            while True:
                _check_alive(processes)
                time.sleep(1)


def _health(page: str) -> str:
    return "api/v2/monitor/health" if page == "Airflow" else "health"


def _announce(pages: Mapping[str, str], external: str | None) -> None:
    console.say(f"Airflow  {pages['Airflow']}")
    console.say(f"MLflow   {shown_uri(external) if external else pages['MLflow'] + RUNS}")
    console.say(f"Sign in to {' and '.join(pages)} as {USER}; the password is in {password_file()}")
    console.say("Ctrl-C stops the pages.")


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


def _check_free(port: int, option: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise UserError(
                f"port {port} of {HOST} cannot be used ({error.strerror}): "
                f"stop what holds it, or choose another with {option}."
            ) from None


@contextmanager
def _running(servers: list[Server]) -> Iterator[dict[Server, subprocess.Popen[bytes]]]:
    """The servers' processes; they and everything they started are gone when the block ends."""
    processes: dict[Server, subprocess.Popen[bytes]] = {}
    try:
        for server in servers:
            with server.log.open("ab") as log:
                # A session of its own: Ctrl-C in the terminal reaches this process only, which then stops them.
                processes[server] = subprocess.Popen(
                    server.command, env=server.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True,
                )  # fmt: skip
        yield processes
    finally:
        console.say("stopping the pages …")
        _stop_children()


def _stop_children() -> None:
    """End everything below this process, running tasks and their stages included."""
    children = psutil.Process().children(recursive=True)
    for child in children:
        _quietly(child.terminate)
    _, alive = psutil.wait_procs(children, STOP_LIMIT)
    for child in alive:
        _quietly(child.kill)
    psutil.wait_procs(alive, STOP_LIMIT)


def _quietly(action: Callable[[], None]) -> None:
    with suppress(psutil.NoSuchProcess):
        action()


def _wait_until_up(urls: list[str], processes: Mapping[Server, subprocess.Popen[bytes]]) -> None:
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
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _check_alive(processes: Mapping[Server, subprocess.Popen[bytes]]) -> None:
    for server, process in processes.items():
        if process.poll() is not None:
            raise WsolError(f"{server.name} ended with exit code {process.returncode}; see {server.log}.")
