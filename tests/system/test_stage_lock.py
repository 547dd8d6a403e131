"""One stage at a time works in a folder, however it was started."""

import os

import pytest

from pipeline.commands import stages
from pipeline.errors import TransientError, UserError
from pipeline.system.locks import STAGE_LOCK, exclusive_lock, is_held
from pipeline.training import distributed
from tests.sample_result import write_params


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stages, "GRACE", 0.1)
    write_params(tmp_path)
    return tmp_path


@pytest.mark.parametrize("stage", stages.STAGES)
def test_a_second_stage_is_refused_and_told_who_is_at_work(folder, stage):
    with exclusive_lock(STAGE_LOCK, "it"), pytest.raises(TransientError) as refused:
        stages.stage_command(stage)()
    assert f"a stage of {folder} is at work already (pid {os.getpid()} on" in str(refused.value)
    # Without the other one it goes as far as its inputs, which are not there.
    with pytest.raises(UserError):
        stages.stage_command("localize")()


def test_the_others_of_a_training_share_the_lock_of_the_first(folder, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with exclusive_lock(STAGE_LOCK, "it"):
        with stages.folder_to_itself("train"):
            pass
        # torchrun starts no other stage: there the variable is a leftover.
        with pytest.raises(TransientError), stages.folder_to_itself("localize"):
            pass


def test_a_training_that_starts_one_process_per_gpu_holds_nothing_before(folder, monkeypatch):
    held = []
    monkeypatch.setattr(distributed, "start_per_gpu", lambda: held.append(is_held(STAGE_LOCK)))
    for stage in ("localize", "train"):
        with pytest.raises(UserError):
            stages.stage_command(stage)()
    assert held == [False]
