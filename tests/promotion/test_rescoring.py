"""The champion's workspace and stages, with the real ones replaced: test_checkout.py has these."""

import shutil
import sys
import threading
from types import SimpleNamespace

import pytest

from pipeline.errors import TransientError, UserError, WsolError
from pipeline.files import write_json
from pipeline.models.localizer import save_localizers
from pipeline.promotion import rescoring
from pipeline.system.dvc import read_stages
from pipeline.system.processes import run_kept
from tests.project import ROOT


def test_two_that_score_one_champion_leave_each_other_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_STATE", str(tmp_path))
    folder, both = tmp_path / "workspaces", threading.Barrier(2)

    def create(name, _settings):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
        return folder / name

    monkeypatch.setattr(rescoring, "create_workspace", create)
    monkeypatch.setattr(rescoring, "remove_workspace", lambda name: shutil.rmtree(folder / name))
    kept = []

    def work(number):
        both.wait()
        with rescoring._workspace("rescore-champion", {}) as workspace:
            (workspace / str(number)).touch()
            threading.Event().wait(0.3)
            kept.append([path.name for path in workspace.iterdir()] == [str(number)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept == [True, True]
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("code", "error"), [(2, UserError), (75, TransientError), (137, TransientError), (1, WsolError)]
)
def test_a_stage_that_fails_passes_its_kind_of_fault_on(tmp_path, monkeypatch, code, error):
    command = [sys.executable, "-c", f"exit({code})"]
    monkeypatch.setattr(rescoring, "run_kept", lambda _command, **options: run_kept(command, **options))
    with pytest.raises(WsolError, match=f"stage localize of the champion ended with exit code {code}") as caught:
        rescoring._run_stage(tmp_path, "localize")
    assert type(caught.value) is error


def test_data_that_is_not_in_the_cache_is_for_the_user_to_mend(tmp_path, monkeypatch):
    monkeypatch.setattr(rescoring, "dvc", lambda *_: SimpleNamespace(returncode=1, stderr="missing"))
    with pytest.raises(UserError, match=r"repro.* here first"):
        rescoring._bring_data(tmp_path)


def test_a_model_of_other_classes_is_refused(tmp_path):
    (tmp_path / "models").mkdir()
    save_localizers(tmp_path / "models/model.pt", [], {"classes": 2})
    facts = {"root": "raw", "content_hash": "c0ffee", "images": {}}
    write_json(tmp_path / "data/prepared/dataset.json", facts | {"classes": ["a", "b"]})
    rescoring._check_classes(tmp_path)
    write_json(tmp_path / "data/prepared/dataset.json", facts | {"classes": ["a", "b", "c"]})
    with pytest.raises(UserError, match="knows 2 classes, the data has 3"):
        rescoring._check_classes(tmp_path)


def test_the_champions_are_all_settings_of_training_that_its_maps_depend_on():
    # Another size or precision gives other maps than those the champion was chosen by.
    stages = read_stages(ROOT / "dvc.yaml")
    keys = {key for stage in rescoring.STAGES for key in stages[stage]["params"] if key.startswith("train")}
    assert keys
    assert all(key.startswith(rescoring.OWN) for key in keys)
