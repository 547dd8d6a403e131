"""What a training's checkpoint belongs to."""

import os
import shutil
from pathlib import Path

import pytest

from pipeline.files import LABELLED
from pipeline.params import load_params
from pipeline.training.checkpoint import Checkpoint, train_key

ROOT = Path(__file__).parents[2]


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A copy of the code, in use as the working folder; returns its ``pipeline``."""
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy2(ROOT / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    LABELLED.mkdir(parents=True)
    (LABELLED / "dataset.json").write_text("{}")
    return tmp_path / "pipeline"


def append(path: Path) -> None:
    path.write_text((path.read_text() if path.exists() else "") + "# changed\n")


@pytest.mark.parametrize(
    "file", ["cams/new_method.py", "cams/extractor.py", "cams/gradients.py", "evaluation/boxes.py", "report/page.py"]
)
def test_a_map_method_new_or_changed_leaves_the_training_alone(code, file):
    key = train_key(load_params())
    append(code / file)
    assert train_key(load_params()) == key


@pytest.mark.parametrize("file", ["training/losses.py", "models/heads.py", "data/images.py", "stages/train.py"])
def test_the_code_that_trains_belongs_to_it(code, file):
    key = train_key(load_params())
    append(code / file)
    assert train_key(load_params()) != key


def test_a_checkpoint_that_is_read_keeps_the_time_it_was_saved(tmp_path, monkeypatch):
    monkeypatch.setenv("WSOL_STATE", str(tmp_path))
    checkpoint = Checkpoint("k")
    assert checkpoint.saved_at() == ""
    checkpoint.save({"epoch": 1})
    os.utime(checkpoint.path, (0, 86400.7))
    assert checkpoint.load() == {"epoch": 1}
    assert checkpoint.saved_at() == "1970-01-02T00:00:00+00:00"
