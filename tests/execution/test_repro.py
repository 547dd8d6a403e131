"""`python -m pipeline repro` on a small project: exit codes, messages, signals, collisions."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipeline.system.keeper import STOPPING
from tests.processes import is_alive, wait_for, wait_for_pid
from tests.tiny_project import last_json, make_project, pipeline, start_pipeline


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    """A project whose stages have all run once."""
    project = make_project(tmp_path_factory.mktemp("repro") / "project")
    done = pipeline(project, "repro")
    assert done.returncode == 0, done.stderr
    assert last_json(done.stdout) == {"reproduced": "all"}
    return project


@pytest.fixture
def project(reproduced):
    """The same project with all outputs in place."""
    yield reproduced
    subprocess.run([sys.executable, "-m", "dvc", "checkout", "-q", "--force"], cwd=reproduced, check=True)


def test_unchanged_stages_do_not_run_again(project):
    notes = (project / "notes").read_text()
    done = pipeline(project, "repro", "train")
    assert done.returncode == 0
    assert "Stage 'train' didn't change, skipping" in done.stdout
    assert (project / "notes").read_text() == notes
    assert last_json(done.stdout) == {"reproduced": "train"}


def test_commands_of_dvc_yaml_use_this_interpreter(project):
    done = pipeline(project, "repro", "--single-item", "--force", "train", PATH="/usr/bin:/bin")
    assert done.returncode == 0, done.stderr
    assert Path((project / "interpreter").read_text()) == Path(sys.executable)


@pytest.mark.parametrize("code", [1, 2, 75])
def test_the_stages_own_exit_code_is_returned(project, code):
    assert pipeline(project, "repro", "--force", "train", MODE=str(code)).returncode == code


def test_a_failure_names_the_command_that_restores_the_outputs(project):
    before = (project / "models/model.pt").read_text()
    done = pipeline(project, "repro", "--single-item", "--force", "train", MODE="2")
    assert not (project / "models/model.pt").exists()
    command = done.stderr.rpartition("bring them back with: ")[2].split()
    assert command[1:] == ["checkout", "train"]
    subprocess.run(command, cwd=project, check=True)
    assert (project / "models/model.pt").read_text() == before


def test_a_failure_without_earlier_outputs_names_no_restoring_command(tmp_path):
    project = make_project(tmp_path / "project")
    done = pipeline(project, "repro", "train", MODE="2")
    assert done.returncode == 2
    assert "bring them back" not in done.stderr


def test_a_failed_stage_leaves_its_message_for_whoever_asks(project, tmp_path):
    outcome = tmp_path / "outcome.json"
    pipeline(project, "repro", "--single-item", "--force", "train", MODE="2", WSOL_OUTCOME_FILE=str(outcome))
    assert last_json(outcome.read_text()) == {"exit_code": 2, "message": "image a.jpg is damaged"}


@pytest.mark.parametrize("number", STOPPING)
@pytest.mark.parametrize("mode", ["sleep", "deaf"])
def test_a_signal_ends_the_stage_too(project, tmp_path, number, mode):
    pid_file = tmp_path / "pid"
    process = start_pipeline(project, "repro", "--single-item", "--force", "train", MODE=mode, PID_FILE=str(pid_file))
    stage = wait_for_pid(pid_file)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert not is_alive(stage)


@pytest.fixture
def training(project, tmp_path):
    """A `repro` whose training sleeps, the training's process id, and the process ids in between by name."""
    pid_file = tmp_path / "pid"
    process = start_pipeline(
        project, "repro", "--single-item", "--force", "train", MODE="sleep", PID_FILE=str(pid_file)
    )
    stage = wait_for_pid(pid_file)
    [keeper] = psutil.Process(process.pid).children()
    between = {"keeper": keeper.pid, "dvc": keeper.children()[0].pid, "stage": stage}
    yield process, between
    process.kill()
    process.communicate()
    wait_for(lambda: not any(map(is_alive, between.values())), "the end of what the killed process left")


def test_a_killed_stage_is_said_to_be_one_and_may_run_again(project, training):
    process, pids = training
    os.kill(pids["stage"], signal.SIGKILL)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 137
    assert f"stage train (process {pids['stage']}) was killed (signal 9)" in said
    assert "memory ran out" in said and "Traceback" not in said


def test_a_crashed_stage_is_not_taken_for_a_killed_one(project, training):
    process, pids = training
    os.kill(pids["stage"], signal.SIGSEGV)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "crashed:\nFatal Python error: Segmentation fault" in said


@pytest.mark.parametrize("victim", ["dvc", "keeper"])
def test_a_killed_dvc_leaves_no_stage(project, training, victim):
    process, pids = training
    os.kill(pids[victim], signal.SIGKILL)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 137
    assert "DVC was ended by SIGKILL; run again to go on" in said
    assert not any(map(is_alive, pids.values()))


def test_the_same_command_completes_what_a_killed_one_began(project, training):
    process, pids = training
    process.kill()
    done = pipeline(project, "repro", "train")
    assert done.returncode == 0, done.stderr
    assert not any(map(is_alive, pids.values()))
    assert (project / "models/model.pt").exists()


def test_two_runs_in_one_folder_collide_with_a_retryable_error(project, tmp_path):
    pid_file = tmp_path / "pid"
    first = start_pipeline(project, "repro", "--single-item", "--force", "train", MODE="sleep", PID_FILE=str(pid_file))
    try:
        wait_for_pid(pid_file)
        second = pipeline(project, "repro", "--single-item", "train")
    finally:
        first.terminate()
        first.communicate(timeout=30)
    assert second.returncode == 75
    assert f"another `repro` is at work already (pid {first.pid} on {socket.gethostname()})" in second.stderr


def test_an_unknown_stage_is_the_users_mistake(project):
    done = pipeline(project, "repro", "trian")
    assert done.returncode == 2
    assert "dvc.yaml has no stage 'trian'; it has prepare, train, track." in done.stderr


def test_invalid_parameters_stop_before_anything_is_removed(project):
    params = project / "params.yaml"
    text = params.read_text()
    params.write_text(text.replace("  lambda:", "  lamda:"))
    try:
        done = pipeline(project, "repro", "--force")
    finally:
        params.write_text(text)
    assert done.returncode == 2
    assert "did you mean train.lambda?" in done.stderr
    assert (project / "models/model.pt").exists()


def test_outside_of_a_repository_the_message_says_where_to_run(tmp_path):
    done = pipeline(tmp_path, "repro", PYTHONPATH=str(Path(__file__).parents[2]))
    assert done.returncode == 2
    assert "Run commands from the root of the repository" in done.stderr


@pytest.mark.parametrize("text", ["", '{"read": {"/x'])
def test_damaged_notes_of_dvc_are_named_before_anything_runs(project, text):
    notes = project / ".dvc/tmp/rwlock"
    before = notes.read_text()
    notes.write_text(text)
    try:
        done = pipeline(project, "repro", "--force", "train")
    finally:
        notes.write_text(before)
    assert (done.returncode, "rwlock is damaged" in done.stderr, "Traceback" in done.stderr) == (2, True, False)
    assert (project / "models/model.pt").exists()
