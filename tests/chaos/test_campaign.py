"""A short campaign, and that it sees what it is there to see."""

import random
import sys
from types import SimpleNamespace

import pytest

from tests.chaos import campaign
from tests.chaos.campaign import Command, Scenario, Tally, chain, digest, role
from tests.processes import wait_for

KEEPER = "python -P /x/pipeline/system/keeper.py 5 4.0 0.0 python -m dvc repro"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (KEEPER, "keeper"),
        ("python -m dvc repro", "dvc"),
        ("python -m pipeline train", "stage"),
        ("python -m pipeline repro", "repro"),
        ("airflow worker -- 01a2", "airflow"),
        ("python -m mlflow server --port 5000", "mlflow"),
        ("sleep 5", "other"),
    ],
)
def test_processes_are_known_by_their_command_line(line, expected):
    assert role(line.split()) == expected


LEAVE = """
import subprocess, sys
sleeper = "import pathlib, time; pathlib.Path('ready').touch(); time.sleep(120)"
subprocess.Popen([sys.executable, "-c", sleeper], start_new_session=True)
sys.exit(3)
"""


def test_what_outlives_its_command_is_found_and_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "LEFT_LIMIT", 0.3)
    command = Command([sys.executable, "-c", LEAVE], tmp_path)
    assert command.ended(60)
    wait_for((tmp_path / "ready").exists, "the process that is left")
    assert [left.split()[0] for left in command.leftovers()] == ["other"]
    assert command.tree() == {}


@pytest.mark.parametrize(("code", "expected"), [("exit(0)", []), ("exit(3)", ["it: ended with 3; "])])
def test_a_command_that_was_not_hit_and_fails_is_a_failure(tmp_path, monkeypatch, code, expected):
    monkeypatch.setattr(campaign, "fresh", lambda folder, _scenario: folder)
    tally = Tally()
    scenario = Scenario("it", [sys.executable, "-c", code], (), 0)
    chain(tmp_path, scenario, 1.0, random.Random(0), tally, signals=0)
    assert [text.removesuffix(str(tmp_path / "chaos.log")) for text in tally.failures] == expected


def test_a_result_that_differs_and_a_second_run_are_failures(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "mlflow_runs", lambda _folder: 2)
    (tmp_path / "a").write_text("1")
    scenario = SimpleNamespace(results=("a",), runs=1)
    expected = digest(tmp_path, ("a",))
    assert campaign.problems(tmp_path, scenario, expected) == ["2 MLflow runs instead of 1"]
    (tmp_path / "a").write_text("2")
    assert campaign.problems(tmp_path, scenario, expected)[0] == "a differs"


@pytest.mark.slow
def test_ten_signals_change_nothing(tmp_path):
    tallies = campaign.campaign(tmp_path, signals=10, seed=1, minutes=60, only=["repro"])
    assert tallies["repro"].failures == []
    assert tallies["repro"].sent.total() == 10
