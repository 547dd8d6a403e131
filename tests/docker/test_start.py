"""What `make up` refuses before it starts anything, and what Compose refuses by itself."""

import shutil
import subprocess

import pytest
import yaml

from tests.docker.stack import docker
from tests.project import ROOT, environment

pytestmark = pytest.mark.container
NAME = "wsoltest_start"
FILES = ("-f", "compose.yaml", "-f", "compose.cpu.yaml")
SETTINGS = {"COMPOSE_PROJECT_NAME": NAME, "WSOL_VERSION": "1", "AIRFLOW_PORT": "18081", "MLFLOW_PORT": "15001"}


@pytest.fixture
def folder(engine, tmp_path):
    shutil.copytree(ROOT / "docker", tmp_path / "docker", ignore=shutil.ignore_patterns(".env"))
    return tmp_path / "docker"


def write_settings(folder, **changed):
    example = (line.partition("=") for line in (ROOT / "docker/.env.example").read_text().splitlines() if "=" in line)
    settings = {name: value for name, _, value in example if not name.startswith("#")} | SETTINGS | changed
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))


def run(folder, *command):
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"WSOL_SHM_MIB": "1g"}, "error: WSOL_SHM_MIB=1g in docker/.env must be a whole number"),
        ({"WSOL_GPU_COUNT": ""}, "error: WSOL_GPU_COUNT= in docker/.env must be a whole number"),
        ({"WSOL_VERSION": "no-such"}, "error: there is no image wsol/tools:no-such"),
    ],
)
def test_a_wrong_setting_is_named_and_nothing_started(folder, changed, message):
    write_settings(folder, **changed)
    done = run(folder, "sh", "start.sh")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert docker("volume", "ls", "--quiet", "--filter", f"name={NAME}") == ""


def test_raw_data_of_another_folder_are_not_silently_the_old_ones(folder, images):
    write_settings(folder, WSOL_VERSION="test", WSOL_RAW_FOLDER="/srv/new")
    options = ("--opt=type=none", "--opt=o=bind", "--opt=device=/srv/old")
    docker("volume", "create", *options, f"{NAME}_raw")
    try:
        done = run(folder, "sh", "start.sh")
    finally:
        docker("volume", "rm", f"{NAME}_raw")
    assert done.returncode == 2
    assert "is a link to /srv/old, not to WSOL_RAW_FOLDER; to renew it: make down; docker volume rm" in done.stderr


@pytest.mark.parametrize("name", ["WSOL_ADDRESS", "AIRFLOW_PORT", "MLFLOW_PORT", "DOCKER_SOCKET", "WSOL_VERSION"])
def test_compose_has_no_guess_where_a_blank_would_open_something(folder, name):
    write_settings(folder, **{name: ""})
    done = run(folder, "docker", "compose", *FILES, "config")
    assert done.returncode != 0
    assert name in done.stderr


def test_no_image_is_ever_pulled(folder):
    write_settings(folder)
    done = run(folder, "docker", "compose", *FILES, "config")
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert {service["pull_policy"] for service in services.values()} == {"never"}
