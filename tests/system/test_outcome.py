"""What a command that failed leaves for whoever started it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.system.outcome import OUTCOME_FILE, Outcome, leave_outcome, noted, read_outcome

ROOT = Path(__file__).parents[2]
#: Two processes of one training: the second fails, which ends the first one too.
SCRIPT = """
import os, sys
from pathlib import Path
from pipeline import cli
from pipeline.errors import DataError
from pipeline.training.distributed import process_group, rank, sum_over_processes
import torch

def train():
    with process_group():
        if rank() == 1:
            raise DataError("image a.jpg is damaged")
        sum_over_processes(torch.ones(1))

cli.run_command_line = train
cli.main()
"""


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setenv(OUTCOME_FILE, str(tmp_path / "outcome.json"))
    return tmp_path / "outcome.json"


def leave(path, code, message):
    os.environ[OUTCOME_FILE] = str(path)
    leave_outcome(code, message)


def test_the_first_failure_is_heard(path):
    leave(path, 2, "image a.jpg is damaged")
    leave(path, 143, "")
    assert read_outcome(path) == Outcome(2, "image a.jpg is damaged")


def test_an_empty_file_that_was_there_is_filled(path):
    path.touch()
    leave(path, 75, "no answer")
    assert read_outcome(path) == Outcome(75, "no answer")


def test_a_success_leaves_room_for_a_later_failure(path):
    leave(path, 0, "")
    assert read_outcome(path) == Outcome()
    leave(path, 1, "lost")
    assert read_outcome(path) == Outcome(1, "lost")


def test_without_somebody_who_asks_nothing_is_left(path, monkeypatch):
    monkeypatch.delenv(OUTCOME_FILE)
    leave_outcome(2, "image a.jpg is damaged")
    assert not path.exists()


def test_a_note_is_kept_while_a_stage_works_and_no_longer(path):
    with pytest.raises(ZeroDivisionError), noted("train"):
        assert read_outcome(path).exit_code == 137
        raise ZeroDivisionError
    assert read_outcome(path) == Outcome()


def test_of_processes_that_train_together_the_killed_one_is_the_cause(path):
    leave(path, 143, "")
    path.with_name("outcome.json.12").write_text("stage train (process 12)\n")
    assert read_outcome(path).exit_code == 137
    path.write_text("")
    leave(path, 2, "image a.jpg is damaged")
    assert read_outcome(path) == Outcome(2, "image a.jpg is damaged")


def test_of_processes_that_train_together_the_cause_is_heard(path, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "WSOL_STATE": str(tmp_path)}
    done = subprocess.run(
        [*command, str(tmp_path / "script.py")], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode != 0
    assert read_outcome(path) == Outcome(2, "image a.jpg is damaged")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"exit_code": 2, "colour": 1}'])
def test_what_was_not_written_to_its_end_is_an_empty_outcome(path, text):
    path.write_text(text)
    assert read_outcome(path) == Outcome()


def test_a_note_that_a_full_disk_left_empty_still_says_that_a_stage_was_killed(path):
    path.with_name(f"{path.name}.12").touch()
    outcome = read_outcome(path)
    assert outcome.exit_code == 137
    assert outcome.message.startswith("a stage was killed")


def test_an_outcome_that_cannot_be_written_hides_no_message(tmp_path):
    leave(tmp_path / "missing/outcome.json", 2, "image a.jpg is damaged")


STOPPED_TWICE = """
import os, signal, sys, time
from pathlib import Path
from pipeline import cli

def work(**_):
    try:
        Path(sys.argv[1], "ready").touch()
        time.sleep(60)
    finally:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)
        Path(sys.argv[1], "tidied").touch()

cli.run_command_line = work
cli.main()
"""


def test_a_second_signal_does_not_cut_the_clean_up_short(tmp_path):
    command = [sys.executable, "-c", STOPPED_TWICE, str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    while not (tmp_path / "ready").exists():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert (process.returncode, (tmp_path / "tidied").exists()) == (143, True)
