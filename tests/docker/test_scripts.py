"""The stack's shell scripts, with stand-ins for what they call: no engine is needed."""

import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

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


def commands(path):
    """The lines of a script, or of a document's blocks for a shell."""
    text = path.read_text()
    blocks = re.findall(r"```(?:sh)?\n(.*?)```", text, re.DOTALL) if path.suffix == ".md" else [text]
    return "\n".join(blocks).replace("\\\n", " ").splitlines()


SCRIPTS = [*ROOT.glob("docker/**/*.sh"), ROOT / "Makefile", *ROOT.glob("docs/*.md")]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_hands_a_secret_over_as_an_argument(path):
    """``printf`` and ``echo`` are the shell's own; every other command's arguments can be seen by all users."""
    for line in commands(path):
        assert not re.search(r"--(conn-)?password\b|--conn-uri\b", line), line
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
    for image in ("airflow", "mlflow", "pipeline", "tools"):
        assert "docker/install.sh docker/uv.lock /tmp/" in (ROOT / f"docker/{image}/Dockerfile").read_text()


@pytest.mark.parametrize("path", [*ROOT.glob("docker/**/*.sh"), ROOT / "Makefile"], ids=lambda path: path.name)
def test_nothing_is_installed_but_by_hash(path):
    for line in commands(path):
        assert "tool run" not in line and "uvx" not in line, line
        assert "pip install" not in line or "--require-hashes" in line, line


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("docker/**/*.lock")), ids=lambda path: f"{path.parent.name}-{path.name}"
)
def test_every_locked_package_has_its_hashes(path):
    entries = re.split(r"\n(?=\S)", path.read_text().strip())
    assert entries and all(re.match(r"[\w.-]+==\S+ ", entry) and "--hash=sha256:" in entry for entry in entries)


def test_images_are_built_from_one_base_that_is_named_by_its_content():
    (base,) = re.findall(r"^FROM (.*)$", (ROOT / "docker/base/Dockerfile").read_text(), re.MULTILINE)
    assert re.fullmatch(r"debian:bookworm-slim@sha256:[0-9a-f]{64}", base)
    for path in ROOT.glob("docker/*/Dockerfile"):
        sources = re.findall(r"^FROM (\S+)", path.read_text(), re.MULTILINE)
        assert path.parent.name == "base" or set(sources) == {"${BASE_IMAGE}"}, path
        assert "BASE_IMAGE=" not in path.read_text(), "no default that is not named by its content"


def test_updates_are_proposed_for_packages_base_image_and_actions():
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    assert {(u["package-ecosystem"], u["directory"]) for u in updates} == {
        ("github-actions", "/"), ("docker", "/docker/base"), ("pip", "/")
    }  # fmt: skip
    for path in ROOT.glob(".github/workflows/*.yml"):
        for action in re.findall(r"uses: (.*)", path.read_text()):
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\S+", action), action


COMPOSE = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_service_is_confined_and_limited(name):
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"] == service["memswap_limit"]
    assert 0 < service["pids_limit"] <= 1024
    assert service["ulimits"]["nofile"] <= 8192
    assert service["pull_policy"] == "never"


def test_what_needs_no_network_has_none_and_only_the_tasks_network_is_shared_with_tasks():
    networks = {name: service.get("networks") for name, service in COMPOSE["services"].items()}
    assert {name for name, found in networks.items() if not found} == {"secrets", "checkout", "socket-proxy"}
    assert all(COMPOSE["services"][name]["network_mode"] == "none" for name, found in networks.items() if not found)
    assert [name for name, found in networks.items() if found and "tasks" in found] == ["mlflow"]


def test_the_first_start_gives_a_task_three_quarters_of_the_machines_memory(tmp_path):
    shutil.copytree(ROOT / "docker", tmp_path / "docker", ignore=shutil.ignore_patterns(".env"))
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    answers = '#!/bin/sh\ncase "$*" in *MemTotal*) echo 17179869184 ;; *Runtimes*) echo {} ;; volume*) false ;; esac\n'
    stand_in(tmp_path / "bin", "docker", answers)
    done = run(tmp_path / "bin", tmp_path / "docker/start.sh", DOCKER_HOST=f"unix://{tmp_path}", WSOL_VERSION="1")
    assert done.returncode == 0, done.stderr
    assert "\nWSOL_MEMORY_MIB=12288\n" in (tmp_path / "docker/.env").read_text()
