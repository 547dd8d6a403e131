"""Building the images, with a stand-in for docker's command line."""

import os
import re
import subprocess

import pytest

from tests.processes import is_alive, wait_for
from tests.project import ROOT

IMAGES = {"tools", "postgres", "mlflow", "airflow", "pipeline"}
#: Notes the tag it is asked for; one of them cannot be built.
DOCKER = """#!/bin/sh
while [ "$1" != --tag ]; do shift; done
echo "$2" >>"$BUILT"
echo "$*" | grep -oE 'BASE_IMAGE=[^ ]*' >>"$BASES"
test "$2" != "$BROKEN"
"""


@pytest.mark.parametrize("broken", ["", "tools", "mlflow", "pipeline"])
def test_every_image_is_built_and_one_that_fails_is_not_passed_over(tmp_path, broken):
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER)
    docker.chmod(0o755)
    variables = {
        "PATH": f"{docker.parent}{os.pathsep}{os.environ['PATH']}", "WSOL_VERSION": "1",
        "BUILT": str(tmp_path / "built"), "BASES": str(tmp_path / "bases"),
        "BROKEN": f"wsol/{broken}:1", "TMPDIR": str(tmp_path),
    }  # fmt: skip
    done = subprocess.run(["sh", ROOT / "docker/build.sh"], env=os.environ | variables, capture_output=True, text=True)
    assert (done.returncode != 0) == bool(broken)
    assert set((tmp_path / "built").read_text().split()) == {f"wsol/{name}:1" for name in IMAGES}
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "built", "bases"}, "the context is removed"
    base = r"BASE_IMAGE=debian:bookworm-slim@sha256:[0-9a-f]{64}"
    assert all(re.fullmatch(base, line) for line in (tmp_path / "bases").read_text().splitlines())


def test_builds_end_with_the_command_that_is_stopped(tmp_path):
    docker = tmp_path / "bin/docker"
    docker.parent.mkdir()
    docker.write_text('#!/bin/sh\necho $$ >>"$BUILT"\nexec sleep 120\n')
    docker.chmod(0o755)
    built = tmp_path / "built"
    built.touch()
    path = f"{docker.parent}{os.pathsep}{os.environ['PATH']}"
    variables = {"PATH": path, "WSOL_VERSION": "1", "BUILT": str(built), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(["sh", ROOT / "docker/build.sh"], env=os.environ | variables, stdout=subprocess.DEVNULL)
    wait_for(lambda: len(built.read_text().split()) == len(IMAGES), "the builds")
    process.terminate()
    assert process.wait(30) != 0
    wait_for(lambda: not any(is_alive(int(pid)) for pid in built.read_text().split()), "the end of the builds")
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "built"}, "the context is removed"
