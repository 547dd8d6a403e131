"""The request for a GPU, made by the operator to a real engine: refused without one, accepted with a stand-in.

An engine accepts the request when it finds an executable `nvidia-container-runtime-hook`, which then prepares the
container; here it does nothing, so that this shows the request, not the GPU.
"""

import os
import shutil
import subprocess

import pytest
from airflow.sdk.exceptions import AirflowFailException

from tests.docker.stack import docker, wait_for
from tests.docker.task import run_task

pytestmark = pytest.mark.container
IMAGE = "wsol/stand-in:test"
DOCKERFILE = f"""
FROM wsol/tools:test
USER root
RUN ln -s /usr/bin/python3 /usr/local/bin/python
COPY pipeline /stand-in/pipeline
ENV PYTHONPATH=/stand-in
USER 10001:10001
LABEL of={IMAGE}
"""
MAIN = """
import json, os
print(json.dumps({"devices": os.environ.get("NVIDIA_VISIBLE_DEVICES"), "user": os.getuid()}))
"""


@pytest.fixture(scope="module")
def stand_in(images, tmp_path_factory):
    """A small image whose `python -m pipeline` says which GPUs it was given."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "pipeline").mkdir()
    (folder / "pipeline/__main__.py").write_text(MAIN)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    docker("build", "--quiet", "--network=none", "--tag", IMAGE, str(folder))
    return IMAGE


def run(image, gpus="2"):
    try:
        return run_task("gpu_test", [], "/tmp", 1, WSOL_IMAGE=image, WSOL_WORK="wsoltest_gpu", WSOL_GPUS=gpus)
    finally:
        subprocess.run(["docker", "volume", "rm", "wsoltest_gpu"], capture_output=True)


def test_an_engine_without_gpu_refuses_with_a_message_that_says_what_to_do(stand_in):
    if "nvidia" in docker("info", "--format", "{{json .Runtimes}}"):
        pytest.skip("this engine has GPUs")
    with pytest.raises(AirflowFailException, match=r"cannot give gpu_test a GPU.*Toolkit.*compose\.cpu\.yaml"):
        run(stand_in)
    assert docker("ps", "--all", "--quiet", "--filter", "name=wsol-gpu_test") == ""


def test_without_gpus_in_the_settings_it_runs_on_the_cpu(stand_in):
    assert run(stand_in, gpus="0") == {"devices": None, "user": 10001}


@pytest.fixture
def engine_with_hook(stand_in, tmp_path, monkeypatch):
    """Another engine, on whose PATH the stand-in of the hook is."""
    if not shutil.which("dockerd") or os.geteuid() != 0:
        pytest.skip("a second engine needs dockerd and root")
    hook = tmp_path / "bin/nvidia-container-runtime-hook"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\nexit 0\n")
    hook.chmod(0o755)
    folder = tmp_path / "e"
    folder.mkdir()
    command = [
        "dockerd", f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid",
        f"--host=unix://{folder}/s", "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false",
        "--ip-masq=false", "--log-level=warn",
    ]  # fmt: skip
    saved = subprocess.Popen(["docker", "save", stand_in], stdout=subprocess.PIPE)
    with (folder / "log").open("w") as log:
        path = f"{hook.parent}{os.pathsep}{os.environ['PATH']}"
        process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | {"PATH": path})
    monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/s")
    try:
        wait_for(lambda: subprocess.run(["docker", "info"], capture_output=True).returncode == 0, "the engine", 60)
        subprocess.run(["docker", "load", "--quiet"], stdin=saved.stdout, check=True, capture_output=True)
        yield
    finally:
        process.terminate()
        process.wait(60)
        subprocess.run(["umount", f"{folder}/exec/netns/default"], capture_output=True)


def test_an_engine_with_the_hook_accepts_and_names_the_gpu(engine_with_hook, stand_in):
    assert run(stand_in) == {"devices": "0", "user": 10001}
