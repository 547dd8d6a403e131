"""Every preset of the papers, and what no preset has, from images to metrics on a tiny data set."""

import importlib
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from pipeline.errors import UserError
from pipeline.overrides import override
from pipeline.params import Params, load_params
from pipeline.tracking import LiveRun
from tests.project import ROOT, make_project

PRESETS = sorted((ROOT / "presets").glob("*.yaml"))
#: What a preset keeps of its own are networks, heads, losses, erasing, maps and thresholds.
TINY = {
    "prepare.dataset": "synthetic", "prepare.root": "pipeline/data/synthetic.py", "prepare.val_fraction": 0.25,
    "prepare.synthetic.classes": 2, "prepare.synthetic.train_per_class": 8, "prepare.synthetic.test_per_class": 3,
    "prepare.synthetic.image_size": 48, "train.pretrained": False, "train.resize": 88, "train.crop": 80,
    "train.epochs": 1, "train.batch_size": 4, "train.lr": 1e-4, "train.acol_width": 16, "train.warm_up": 0.5,
    "evaluate.interval": 0.01,
}  # fmt: skip


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = make_project(tmp_path / "project")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "state"))
    monkeypatch.setattr("pipeline.stages.train.live_run", lambda *_: nullcontext(LiveRun()))
    return folder


def tiny(base: Path, changes: dict[str, Any] | None = None) -> Params:
    Path("params.yaml").write_text(override(base.read_text(), TINY | (changes or {})))
    return load_params(Path("params.yaml"))


def run_stages(params: Params, *names: str) -> dict[str, Any]:
    for name in names:
        importlib.import_module(f"pipeline.stages.{name}").run(params)
    metrics: dict[str, Any] = json.loads(Path("metrics/metrics.json").read_text())
    return metrics


ALL = ("prepare", "train", "extract_cams", "localize", "evaluate")


@pytest.mark.slow
@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_every_preset_runs(project, path):
    metrics = run_stages(tiny(path), *ALL)
    assert metrics["test"]["images"] == 6
    assert 0 <= metrics["test"]["gt_known_iou50"] <= metrics["test"]["max_box_acc_iou50"] <= 100


@pytest.mark.parametrize(
    "changes",
    [
        {"train.head": "gmp", "train.erasing": "adl", "train.regularizer": "jeffreys"},
        {"train.head": "conv", "train.erasing": "rdap", "train.ema": 0.9, "train.select": "best"},
        {"train.head": "acol", "train.erasing": "has", "extract_cams.acol_map": "second"},
        {"train.erasing": "ae", "train.optimizer": "adamw", "train.precision": "bfloat16"},
        {
            "extract_cams.method": "ddt",
            "extract_cams.flip": True,
            "train.freeze_backbone": True,
            "extract_cams.ddt_layers": ["layer4.0@96", "layer3.1@96", "layer3.1@64"],
        },
        {"train.stride": 8, "train.schedule": "one_cycle", "train.channels_last": False, "extract_cams.ten_crop": True},
    ],
    ids=str,
)
def test_options_without_a_preset_run(project, changes):
    metrics = run_stages(tiny(ROOT / "params.yaml", changes), *ALL)
    assert metrics["test"]["images"] == 6
    networks = torch.load("models/model.pt", weights_only=True)["state_dicts"]
    assert len(networks) == (2 if changes.get("train.erasing") == "ae" else 1)
    assert len(pd.read_csv("models/history.csv")) == len(networks)


def test_another_map_method_does_not_train_again(project):
    """By what DVC compares: `train` reads nothing of extract_cams."""
    stages = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]
    assert not any(key.startswith("extract_cams") for key in stages["train"]["params"])
    run_stages(tiny(ROOT / "params.yaml"), *ALL)
    before = Path("models/model.pt").read_bytes()
    results = {}
    for method in ("cam", "grad_cam", "grad_cam_plus_plus", "layer_cam"):
        params = tiny(ROOT / "params.yaml", {"extract_cams.method": method})
        results[method] = run_stages(params, "extract_cams", "localize", "evaluate")["test"]["mean_iou"]
    assert Path("models/model.pt").read_bytes() == before
    assert len(set(results.values())) > 1


def test_a_region_larger_than_the_map_is_refused(project):
    params = tiny(ROOT / "params.yaml", {"train.erasing": "rdap", "train.rdap_size": 6})
    run = importlib.import_module("pipeline.stages.prepare").run
    run(params)
    with pytest.raises(UserError, match=r"train\.rdap_size: a square of 6 positions does not fit the map of 5×5"):
        importlib.import_module("pipeline.stages.train").run(params)
