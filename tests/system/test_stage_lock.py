"""One stage at a time works in a folder, however it was started."""

import os

import pytest
from typer.testing import CliRunner

from pipeline import cli
from pipeline.errors import TransientError, UserError
from pipeline.system.locks import STAGE_LOCK, exclusive_lock, is_held
from pipeline.training import distributed
from tests.sample_result import write_params


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "GRACE", 0.1)
    write_params(tmp_path)
    return tmp_path


@pytest.mark.parametrize("stage", cli.STAGES)
def test_a_second_stage_is_refused_and_told_who_is_at_work(folder, stage):
    with exclusive_lock(STAGE_LOCK, "it"):
        refused = CliRunner().invoke(cli.app, [stage])
    assert isinstance(refused.exception, TransientError)
    assert f"a stage of {folder} is at work already (pid {os.getpid()} on" in str(refused.exception)
    # Without the other one it goes as far as its inputs, which are not there.
    assert isinstance(CliRunner().invoke(cli.app, ["localize"]).exception, UserError)


def test_the_others_of_a_training_share_the_lock_of_the_first(folder, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with exclusive_lock(STAGE_LOCK, "it"):
        with cli._folder_to_itself("train"):
            pass
        # torchrun starts no other stage: there the variable is a leftover.
        with pytest.raises(TransientError), cli._folder_to_itself("localize"):
            pass


def test_a_training_that_starts_one_process_per_gpu_holds_nothing_before(folder, monkeypatch):
    held = []
    monkeypatch.setattr(distributed, "start_per_gpu", lambda: held.append(is_held(STAGE_LOCK)))
    for stage in ("localize", "train"):
        CliRunner().invoke(cli.app, [stage])
    assert held == [False]
