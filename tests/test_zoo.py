"""Every preset of the papers, and what no preset has, from images to metrics on a tiny data set."""

import gc
import importlib
import json
import shutil
import weakref
from contextlib import nullcontext
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from pipeline.data.images import read_squashed
from pipeline.data.manifest import read_dataset
from pipeline.errors import UserError
from pipeline.files import file_hash
from pipeline.models.adversarial_erasing import erase_found
from pipeline.models.attention_dropout import AttentionDropout, RegionDropout
from pipeline.models.backbones import build_backbone
from pipeline.models.cam import normalize_maps
from pipeline.models.localizer import load_localizers
from pipeline.models.zoo import BACKBONES
from pipeline.params import Params, load_params
from pipeline.presets import preset_text
from pipeline.tracking.runs import LiveRun
from tests.project import ROOT

PRESETS = sorted({path.stem for path in (ROOT / "presets").glob("*.yaml")} - {"default"})
#: What a preset keeps of its own are networks, heads, losses, erasing, maps and thresholds.
TINY = {
    "prepare.dataset": "synthetic", "prepare.root": "data/synthetic", "prepare.val_fraction": 0.25,
    "prepare.synthetic.classes": 2, "prepare.synthetic.train_per_class": 8, "prepare.synthetic.test_per_class": 3,
    "prepare.synthetic.image_size": 48, "train.pretrained": False, "train.resize": 88, "train.crop": 80,
    "train.epochs": 1, "train.batch_size": 4, "train.lr": 1e-4, "train.acol_width": 16, "train.warm_up": 0.5,
    "train.freeze_batch_norm": False, "train.freeze_backbone": False,
    "evaluate.interval": 0.01,
}  # fmt: skip


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "pipeline", folder / "pipeline")
    shutil.copytree(ROOT / "presets", folder / "presets")
    shutil.copytree(ROOT / "data/synthetic", folder / "data/synthetic")
    shutil.copy2(ROOT / "dvc.yaml", folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "state"))
    monkeypatch.setattr("pipeline.stages.train.live_run", lambda *_: nullcontext(LiveRun()))
    return folder


def tiny(preset: str, changes: dict[str, Any] | None = None) -> Params:
    Path("params.yaml").write_text(preset_text(preset, TINY | (changes or {})))
    return load_params(Path("params.yaml"))


def run_stages(params: Params, *names: str) -> dict[str, Any]:
    for name in names:
        importlib.import_module(f"pipeline.stages.{name}").run(params)
    metrics: dict[str, Any] = json.loads(Path("metrics/metrics.json").read_text())
    return metrics


ALL = ("prepare", "train", "extract_cams", "localize", "evaluate")


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_runs(project, name):
    metrics = run_stages(tiny(name), *ALL)
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
            "extract_cams.ddt_layers": ["layer4.0@96", "layer3.1@96", "layer3.1@64"],
        },
        {"train.stride": 8, "train.schedule": "one_cycle", "train.channels_last": False, "extract_cams.ten_crop": True},
    ],
    ids=str,
)
def test_options_without_a_preset_run(project, changes):
    metrics = run_stages(tiny("default", changes), *ALL)
    assert metrics["test"]["images"] == 6
    networks = torch.load("models/model.pt", weights_only=True)["state_dicts"]
    assert len(networks) == (2 if changes.get("train.erasing") == "ae" else 1)
    assert len(pd.read_csv("models/history.csv")) == len(networks)


def test_a_frozen_backbone_is_that_of_the_weights_file(project):
    given = build_backbone("resnet18", 16).state_dict()
    torch.save(given, "weights.pth")
    changes = {"train.pretrained": "weights.pth", "train.freeze_backbone": True, "extract_cams.method": "ddt"}
    metrics = run_stages(tiny("default", changes), *ALL)
    assert metrics["test"]["images"] == 6
    (network,), _ = load_localizers(Path("models/model.pt"))
    assert all(torch.equal(value, given[name]) for name, value in network.backbone.state_dict().items())
    weights = json.loads(Path("models/training.json").read_text())["weights"]
    assert weights == {"weights.pth": file_hash(Path("weights.pth"))}


def test_another_map_method_does_not_train_again(project):
    """By what DVC compares: `train` reads nothing of extract_cams. Each method makes the maps of its own."""
    stages = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]
    assert not any(key.startswith("extract_cams") for key in stages["train"]["params"])
    assert not any(dep.startswith("cams") for dep in stages["train"]["deps"])
    run_stages(tiny("default"), *ALL)
    before = Path("models/model.pt").read_bytes()
    shards = {}
    for method in ("cam", "grad_cam", "grad_cam_plus_plus", "layer_cam"):
        params = tiny("default", {"extract_cams.method": method})
        run_stages(params, "extract_cams", "localize", "evaluate")
        shards[method] = _test_shard()
    assert Path("models/model.pt").read_bytes() == before
    for shard in shards.values():
        assert torch.equal(shard["logits"], shards["cam"]["logits"])
        assert torch.equal(shard["classes"], shards["cam"]["classes"])
    expected = _maps_behind_average_pooling(_test_images(params), shards["cam"]["classes"])
    assert expected.keys() == shards.keys()
    for method, maps in expected.items():
        torch.testing.assert_close(shards[method]["maps"], maps, rtol=1e-3, atol=1e-3 * maps.abs().amax().item())
    for one, other in combinations(expected.values(), 2):
        assert (one - other).abs().amax() > 0.01 * torch.maximum(one, other).abs().amax()


@torch.no_grad()
def _maps_behind_average_pooling(images: torch.Tensor, classes: torch.Tensor) -> dict[str, torch.Tensor]:
    """By hand from the written model: a logit's gradient is its weight over the number of positions, everywhere."""
    (network,), _ = load_localizers(Path("models/model.pt"))
    features = network.features(images)  # (N, K, 5, 5)
    weights, total = network.head.weight[classes], features.sum(dim=(2, 3))[:, None]  # (N, 2, K), (N, 1, K)
    gradients = weights / 25
    factors = {
        "cam": weights,
        "grad_cam": gradients,
        "grad_cam_plus_plus": 25 * gradients.clamp(min=0) / (2 + gradients * total),
        "layer_cam": gradients.clamp(min=0),
    }
    return {method: torch.einsum("nkhw,nmk->nmhw", features, factor) for method, factor in factors.items()}


def _test_images(params: Params) -> torch.Tensor:
    dataset = read_dataset()
    paths = [dataset.root / path for path in dataset.split("test")["path"]]
    return torch.from_numpy(np.stack([read_squashed(path, params.train.crop, upright=False) for path in paths]))


def _test_shard() -> dict[str, torch.Tensor]:
    """What extract_cams wrote of the test images."""
    with np.load("cams/test/00000.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in ("maps", "logits", "classes")}


@torch.no_grad()
def test_adversarial_erasing_unites_the_maps_of_networks_that_see_different_images(project):
    """From the written model: the second network sees the images without what the first one found."""
    params = tiny("default", {"train.erasing": "ae", "train.ae_threshold": 0.5, "train.lr": 0.01})
    with torch.enable_grad():
        run_stages(params, *ALL)
    (first, second), _ = load_localizers(Path("models/model.pt"))
    assert not torch.equal(first.head.weight, second.head.weight)
    images, shard = _test_images(params), _test_shard()
    torch.testing.assert_close(shard["logits"], first(images)[0], rtol=1e-4, atol=1e-5)
    labels = shard["classes"][:, 0]
    erased = erase_found(first, images, labels, 0.5)
    assert not torch.equal(erased, images)
    found = [n.head.class_maps(n.features(i), labels[:, None])[:, 0] for n, i in ((first, images), (second, erased))]
    expected = torch.maximum(*(normalize_maps(maps) for maps in found))
    torch.testing.assert_close(shard["maps"][:, 0], expected, rtol=1e-3, atol=1e-4)


def test_of_several_networks_only_what_was_trained_is_kept(project, monkeypatch):
    """While the second one trains, nothing of the first one's trainer is in memory: optimizer, averages, gradients."""
    train, alive, trainers = importlib.import_module("pipeline.stages.train"), [], []

    class Watched(train.Trainer):
        def __init__(self, *arguments):
            gc.collect()
            alive.append(sum(trainer() is not None for trainer in trainers))
            trainers.append(weakref.ref(self))
            super().__init__(*arguments)

    monkeypatch.setattr(train, "Trainer", Watched)
    params = tiny("default", {"train.erasing": "ae", "train.ae_steps": 3})
    importlib.import_module("pipeline.stages.prepare").run(params)
    train.run(params)
    assert alive == [0, 0, 0]


@pytest.mark.parametrize(
    ("erasing", "kind", "value"),
    [("adl", AttentionDropout, ("threshold", 0.35)), ("rdap", RegionDropout, ("size", 3))],
)
def test_dropout_is_inserted_at_the_sites_with_the_values_of_the_settings(project, monkeypatch, erasing, kind, value):
    train = importlib.import_module("pipeline.stages.train")
    found = []

    class Watched(train.Trainer):
        def __init__(self, network, *arguments):
            found.extend(layer for layer in network.modules() if isinstance(layer, kind))
            super().__init__(network, *arguments)

    monkeypatch.setattr(train, "Trainer", Watched)
    changes = {"train.erasing": erasing, "train.dropout_rate": 0.15, "train.adl_threshold": 0.35, "train.rdap_size": 3}
    params = tiny("default", changes)
    importlib.import_module("pipeline.stages.prepare").run(params)
    train.run(params)
    assert len(found) == len(BACKBONES[params.train.backbone].attention_sites)
    assert {(layer.drop_rate, getattr(layer, value[0])) for layer in found} == {(0.15, value[1])}


def test_a_region_larger_than_the_map_is_refused(project):
    params = tiny("default", {"train.erasing": "rdap", "train.rdap_size": 6})
    run = importlib.import_module("pipeline.stages.prepare").run
    run(params)
    with pytest.raises(UserError, match=r"train\.rdap_size: a square of 6 positions does not fit the map of 5×5"):
        importlib.import_module("pipeline.stages.train").run(params)
