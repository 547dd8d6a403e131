"""The machine: packages, GPU, disk, Git, Docker, ports."""

import importlib
import importlib.metadata
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from pipeline.doctor.check import Finding, State
from pipeline.errors import UserError, reason
from pipeline.execution.preflight import check_repository
from pipeline.local.airflow_home import lock_file
from pipeline.system.dvc import dvc
from pipeline.system.git import git, head, toplevel
from pipeline.system.locks import is_held
from pipeline.system.ports import check_free
from pipeline.system.state import state_folder

LOCKED = Path("requirements.lock")
#: Subject by distribution: those whose version decides whether the pipeline works.
PACKAGES = {
    "torch": "torch", "opencv-python": "OpenCV", "numba": "numba", "mlflow": "MLflow", "apache-airflow": "Airflow",
    "dvc": "DVC",
}  # fmt: skip
#: GiB that must be free for the pipeline to work at all, and for a training with its checkpoints and maps.
LEAST, ENOUGH = 1.0, 5.0
#: Of the pages, with the option that names another one.
PORTS = ((8080, "--airflow-port"), (5000, "--mlflow-port"))
#: Seconds for programs that may hang: a driver, an engine.
PATIENCE = 10.0


def python() -> Iterator[Finding]:
    """The interpreter, by what `make setup` takes."""
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] < (3, 14):
        yield Finding("Python", "good", f"{version}, {sys.executable}")
    else:
        yield Finding("Python", "fault", f"{version}; 3.11 to 3.13 is needed: make PYTHON=python3.11 setup")


def packages() -> Iterator[Finding]:
    """Versions, against those that `make setup` installs."""
    text = LOCKED.read_text() if LOCKED.is_file() else ""
    wanted = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE))
    for name, subject in PACKAGES.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(subject, "fault", "is not installed: make setup")
            continue
        other = wanted.get(name, version)
        if version == other:
            yield Finding(subject, "good", version)
        else:
            text = f"{version}, and {LOCKED} has {other}: `rm .venv/.ready` and `make setup` install that"
            yield Finding(subject, "warning", text)


def images() -> Iterator[Finding]:
    """OpenCV needs libraries of the system, which a bare server lacks."""
    try:
        importlib.import_module("cv2")
    except ImportError as error:
        yield Finding("OpenCV", "fault", f"{reason(error)}: apt-get install libgl1 libglib2.0-0")


def gpu() -> Iterator[Finding]:
    """The driver's word against that of torch."""
    told = _output("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")
    import torch

    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        yield Finding("GPU", "good", f"{names}; CUDA {torch.version.cuda}; driver: {told or 'unknown'}")
    elif told:
        text = f"torch {torch.__version__} cannot use {told}: update the driver to one for CUDA {torch.version.cuda}"
        yield Finding("GPU", "warning", f"{text}. Until then the CPU is used")
    else:
        yield Finding("GPU", "good", f"none: {torch.get_num_threads()} threads of the CPU are used")


def disk() -> Iterator[Finding]:
    """Space where results, DVC's cache and the state lie; places of one file system are one line."""
    cache = dvc(Path.cwd(), "cache", "dir")
    places = {"this folder": Path.cwd(), "DVC's cache": Path(cache.stdout.strip() or "."), "state": state_folder()}
    systems: dict[int, list[str]] = {}
    for name, path in places.items():
        there = next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
        systems.setdefault(there.stat().st_dev, []).append(f"{name} ({there})")
    for names in systems.values():
        free = shutil.disk_usage(names[0].rpartition("(")[2].rstrip(")")).free / 2**30
        state: State = "good" if free >= ENOUGH else "warning" if free >= LEAST else "fault"
        mend = "" if state == "good" else ": free some; `dvc gc --workspace` drops what no result here needs any more"
        yield Finding("disk", state, f"{free:.1f} GiB free for {', '.join(names)}{mend}")


def history() -> Iterator[Finding]:
    """Git, and a commit to work from."""
    version = git(Path.cwd(), "--version").strip().removeprefix("git version ")
    # It passes over what `track` can do without.
    toplevel(Path.cwd())
    check_repository(Path.cwd())
    yield Finding("Git", "good", f"{version}, at commit {head(Path.cwd())[:12]}")


def docker() -> Iterator[Finding]:
    """The engine, for those who run the container stack."""
    if shutil.which("docker") is None:
        yield Finding("Docker", "good", "is not installed, and only `make up` needs it")
        return
    try:
        done = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, check=False,
            timeout=PATIENCE,
        )  # fmt: skip
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    except subprocess.TimeoutExpired:
        yield Finding("Docker", "warning", f"the engine does not answer within {PATIENCE:.0f} s: restart it")
        return
    if done.returncode == 0:
        yield Finding("Docker", "good", f"engine {done.stdout.strip()}")
        return
    mend = (
        "start it, or `usermod -aG docker USER` where it is not yours to use. Only `make up` and `make images` need it"
    )
    yield Finding("Docker", "warning", f"the engine does not answer ({said}): {mend}")


def ports() -> Iterator[Finding]:
    """Those of `make ui`, unless its pages are what is there."""
    if is_held(lock_file("ui")):
        yield Finding("ports", "good", "`make ui` is at work")
        return
    for port, option in PORTS:
        try:
            check_free(port, f"`python -m pipeline ui {option}`")
        except UserError as error:
            yield Finding("ports", "warning", str(error))
        else:
            yield Finding("ports", "good", f"{port} is free for `make ui`")


def _output(*command: str) -> str:
    """What a program says, its lines joined; empty where it is missing, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "; ".join(done.stdout.split("\n")[:-1]) if done.returncode == 0 else ""
