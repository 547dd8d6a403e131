"""stdout and stderr that take nothing more: closed by their reader, full, not there, of another language."""

import os
import subprocess
import sys

import pytest

from tests.tiny_project import make_project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("output") / "project")


def shell(project, line, **variables):
    """Run a line of shell with `$PIPELINE` in it."""
    environment = os.environ | {"PIPELINE": f"{sys.executable} -m pipeline"} | variables
    command = ["bash", "-o", "pipefail", "-c", line]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


def test_a_reader_that_has_gone_ends_the_command_quietly(project):
    done = shell(project, "$PIPELINE raw-hash | true")
    assert (done.returncode, done.stderr) == (141, "")


def test_a_result_that_cannot_be_written_is_the_users_to_mend(project):
    done = shell(project, "$PIPELINE raw-hash >/dev/full")
    assert done.returncode == 2
    assert "could not be written to stdout: No space left on device" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr


@pytest.mark.parametrize(("line", "code"), [("repro --force | head -1", 141), ("repro --force >/dev/full", 2)])
def test_a_run_whose_output_nobody_takes_is_completed_all_the_same(project, line, code):
    (project / "notes").unlink(missing_ok=True)
    done = shell(project, f"$PIPELINE {line}")
    assert done.returncode == code
    assert (project / "notes").read_text() == "tracked\n", done.stderr
    assert "Traceback" not in done.stderr and "ERROR" not in done.stderr


@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "2> >(true)", ">&- 2>&-"])
def test_a_command_that_nobody_hears_does_its_work(project, redirection):
    done = shell(project, f"$PIPELINE raw-hash {redirection}")
    assert done.returncode == 0
    assert done.stdout.startswith('{"raw_hash": ') or ">&- " in redirection


def test_without_stderr_a_mistake_still_has_its_exit_code(project):
    assert shell(project, "$PIPELINE repro trian 2>&-").returncode == 2


@pytest.mark.parametrize("line", ["$PIPELINE check", "$PIPELINE sweep --help"])
def test_the_locale_of_a_bare_server_is_enough(project, line):
    done = shell(project, line, LC_ALL="POSIX", LANG="")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
