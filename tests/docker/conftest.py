"""A Docker engine, the images of the project with tiny data, and the stack that is made of them."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.docker.stack import Stack, docker, tasks_of
from tests.project import ROOT, environment, make_project
from tests.tiny_project import commit

#: A script with the commands `all` and `down` that brings an engine and a base image of its own.
ENGINE = Path(os.environ.get("WSOL_DOCKER_ENGINE", ROOT.parent / "shared/tools/docker_engine.sh"))
ENGINE_BASE = "local/debian-py:bookworm"
#: Stands in the file that builds get as their secret; no image may hold it.
PLANTED = "planted-build-secret-c41b7e"
#: DVC's remote, in the volume of the tasks.
REMOTE = "/srv/wsol/remote"
PORTS = {"AIRFLOW_PORT": "18080", "MLFLOW_PORT": "15000"}


@pytest.fixture(scope="session")
def engine():
    """A Docker engine in the environment: the one that is there, or the script's, stopped afterwards."""
    if _answers():
        yield
        return
    if not ENGINE.is_file():
        pytest.skip(f"no Docker engine answers, and there is no {ENGINE} to start one (WSOL_DOCKER_ENGINE)")
    done = subprocess.run(["bash", ENGINE, "all"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{ENGINE} cannot start an engine on this machine: {(done.stdout + done.stderr)[-1000:]}")
    root = Path(os.environ.get("DOCKER_TEST_ROOT", Path(os.environ.get("TMPDIR", "/tmp")) / "wsol-docker"))
    os.environ |= {"DOCKER_HOST": f"unix://{root}/docker.sock", "DOCKER_CONFIG": f"{root}/config"}
    yield
    subprocess.run(["bash", ENGINE, "down"], check=True)


def _answers() -> bool:
    return bool(shutil.which("docker")) and subprocess.run(["docker", "info"], capture_output=True).returncode == 0


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """A committed checkout with tiny data; the stack of its docker/ folder has names and ports of its own."""
    folder = make_project(tmp_path_factory.mktemp("stack") / "project")
    example = folder / "docker/.env.example"
    settings = PORTS | {"COMPOSE_PROJECT_NAME": "wsoltest", "WSOL_THREADS": "1"}
    lines = [line.split("=")[0] for line in example.read_text().splitlines()]
    text = example.read_text()
    for name, value in settings.items():
        assert name in lines
        text = "\n".join(f"{name}={value}" if line.startswith(f"{name}=") else line for line in text.splitlines())
    example.write_text(text + "\n")
    (folder / "data/raw").mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, "-m", "dvc", "remote", "add", "--default", "shared", REMOTE], cwd=folder, check=True
    )
    commit(folder)
    return folder


@pytest.fixture(scope="session")
def built(engine, project, tmp_path_factory):
    """All images, built; returns their names by image."""
    authority = tmp_path_factory.mktemp("authority") / "ca.pem"
    given = Path(os.environ.get("BUILD_CA") or os.environ.get("PIP_CERT") or "/etc/ssl/certs/ca-certificates.crt")
    authority.write_text(f"{given.read_text()}\n# {PLANTED}\n")
    has_base = subprocess.run(["docker", "image", "inspect", ENGINE_BASE], capture_output=True).returncode == 0
    base = {"BASE_IMAGE": ENGINE_BASE, "BUILD_NETWORK": "host"} if has_base else {}
    variables = base | {"WSOL_VERSION": "test", "BUILD_CA": str(authority)}
    done = subprocess.run(
        ["sh", "docker/build.sh"],
        cwd=project,
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    return {name: f"wsol/{name}:test" for name in ("tools", "postgres", "mlflow", "airflow", "pipeline")}


@pytest.fixture(scope="session")
def planted(built):
    """By image, in how many lines of it the planted secret stands; looked for while other tests wait."""
    pool, engine = ThreadPoolExecutor(1), dict(os.environ)
    yield {name: pool.submit(_count_planted, image, engine) for name, image in built.items()}
    pool.shutdown(cancel_futures=True)


def _count_planted(image, engine):
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE, env=engine) as save:
        found = subprocess.run(["grep", "-a", "-c", PLANTED], stdin=save.stdout, capture_output=True, text=True)
    assert save.returncode == 0
    return int(found.stdout)


@pytest.fixture(scope="session")
def images(built, planted):
    """All images by their names; the search of them has begun."""
    return built


@pytest.fixture(scope="session")
def stack(images, project):
    """The stack, healthy, after the first start of new volumes; removed with them."""
    remove_stack("wsoltest")  # of a run that was killed
    started = subprocess.run(
        ["sh", "docker/start.sh"], cwd=project, env=environment(WSOL_VERSION="test"), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    running = Stack(project / "docker")
    try:
        assert started.returncode == 0, started.stderr[-4000:] + running.compose("logs", "--tail", "30")
        running.unpause()
        yield running
    finally:
        remove_stack("wsoltest")


def remove_stack(name: str) -> None:
    """Remove a stack's containers, those of its tasks included, its networks and its volumes."""
    project = ("--quiet", "--filter", f"label=com.docker.compose.project={name}")
    networks = docker("network", "ls", *project).split()
    containers = docker("ps", "--all", *project).split() + docker("ps", "--quiet", *tasks_of(name)).split()
    for kind, found in (
        ("container", containers),
        ("network", networks),
        ("volume", docker("volume", "ls", *project).split()),
    ):
        if found:
            docker(kind, "rm", "--force", *found)
