"""The stack's shell scripts, with stand-ins for what they call: no engine is needed."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.project import ROOT

PASSWORD = "not-to-be-seen"


def stand_in(folder, name, script):
    path = folder / name
    path.write_text(script)
    path.chmod(0o755)


def run(folder, script, **variables):
    """Run a script in which the stand-ins of ``folder`` come first, without a terminal."""
    environment = dict(os.environ) | {"PATH": f"{folder}:{os.environ['PATH']}"} | variables
    return subprocess.run(
        ["sh", script], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        start_new_session=True, timeout=60,
    )  # fmt: skip


#: Asks for a password as Airflow's own command does where the arguments name none, and notes what it was given.
AIRFLOW = f"""\
#!{sys.executable}
import getpass, os, sys
with open(os.environ["SEEN"], "a") as seen:
    print(*sys.argv[1:], file=seen)
if sys.argv[1:3] == ["users", "create"]:
    passwords = {{getpass.getpass("Password:"), getpass.getpass("Repeat for confirmation:")}}
    assert passwords == {{"{PASSWORD}"}}, passwords
    print("created")
"""


def test_the_password_of_airflow_is_no_argument_of_a_process(tmp_path):
    stand_in(tmp_path, "airflow", AIRFLOW)
    stand_in(
        tmp_path, "cat", f'#!/bin/sh\ncase $1 in */admin_password) echo {PASSWORD} ;; *) echo "${{1##*/}}" ;; esac\n'
    )
    done = run(tmp_path, ROOT / "docker/airflow/migrate.sh", SEEN=str(tmp_path / "seen"), WSOL_GPUS="0")
    assert done.returncode == 0, done.stderr
    seen = (tmp_path / "seen").read_text()
    assert "users create --role Admin --username admin_user" in seen and "created" in done.stdout
    assert PASSWORD not in seen
    assert "pools set gpu 1" in seen


@pytest.mark.parametrize("path", [*ROOT.glob("docker/**/*.sh"), ROOT / "Makefile"], ids=lambda path: path.name)
def test_no_script_hands_a_secret_over_as_an_argument(path):
    """``printf`` and ``echo`` are the shell's own; every other command's arguments can be seen by all users."""
    for line in path.read_text().replace("\\\n", " ").splitlines():
        for command in re.split(r"[|;&]+", line):
            secret = re.search(r"\$\{?password|\$\((cat|secret) [^)]*(password|key)", command)
            plain = re.match(r"\s*(@|export |[\w/]*=|printf |echo |if |for |#)|.*\becho ", command)
            assert not secret or plain, line


@pytest.fixture
def stack(tmp_path):
    """A copy of the stack's folder, and stand-ins for an engine that has everything."""
    shutil.copytree(ROOT / "docker", tmp_path / "docker", ignore=shutil.ignore_patterns(".env"))
    (tmp_path / "bin").mkdir()
    stand_in(tmp_path / "bin", "docker", '#!/bin/sh\n[ "$1" != volume ]\n')

    def start(**changed):
        settings = (ROOT / "docker/.env.example").read_text()
        for name, value in ({"WSOL_VERSION": "1"} | changed).items():
            settings = re.sub(rf"^{name}=.*", f"{name}={value}", settings, flags=re.MULTILINE)
        (tmp_path / "docker/.env").write_text(settings)
        done = run(tmp_path / "bin", tmp_path / "docker/start.sh")
        assert done.returncode == 0, done.stderr
        return done.stderr

    return start


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.7", "::"])
def test_an_address_that_others_reach_is_warned_of(stack, address):
    assert f"warning: WSOL_ADDRESS={address} in docker/.env lets other machines reach both pages" in stack(
        WSOL_ADDRESS=address
    )


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost"])
def test_this_machines_own_address_is_not(stack, address):
    assert stack(WSOL_ADDRESS=address) == ""


def test_what_installs_the_packages_is_itself_installed_by_hash():
    lock, own = (ROOT / "requirements.lock").read_text(), (ROOT / "docker/uv.lock").read_text()
    assert own in lock and own.startswith("uv==") and own.count("uv==") == 1
    assert lock[lock.index(own) + len(own)].isalpha(), "all of its hashes"
    for path in (ROOT / "docker/install.sh", ROOT / "Makefile"):
        assert re.search(r"pip install [^\n]*--require-hashes -r \S*uv\.lock", path.read_text()), path
    for image in ("airflow", "mlflow", "pipeline"):
        assert "docker/install.sh docker/uv.lock /tmp/" in (ROOT / f"docker/{image}/Dockerfile").read_text()
