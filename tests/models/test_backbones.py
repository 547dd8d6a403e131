"""Backbones keep the resolution of their last stage and take torchvision's weights."""

import os

import pytest
import torch
import torchvision

from pipeline.errors import TransientError, UserError
from pipeline.models.backbones import BACKBONES, channels, load_pretrained

EXPECTED = {"resnet18": (512, 14), "squeezenet1_1": (512, 13), "mobilenet_v2": (1280, 14)}


@pytest.mark.parametrize("name", BACKBONES)
def test_map_at_224(name):
    backbone = BACKBONES[name]().eval()
    count, side = EXPECTED[name]
    assert channels(backbone) == count
    with torch.no_grad():
        assert backbone(torch.zeros(1, 3, 224, 224)).shape == (1, count, side, side)


@pytest.mark.parametrize("name", BACKBONES)
def test_torchvisions_own_weights_fit_whole_and_features_alone(name, tmp_path):
    theirs = torchvision.models.get_model(name)
    torch.save(theirs.state_dict(), tmp_path / "whole.pth")
    backbone = BACKBONES[name]()
    load_pretrained(backbone, name, str(tmp_path / "whole.pth"))
    own = backbone.state_dict()
    for key, value in theirs.state_dict().items():
        if key in own and not key.endswith("num_batches_tracked"):
            torch.testing.assert_close(own[key], value, rtol=0, atol=0)
    torch.save({key: value for key, value in own.items() if "num_batches" not in key}, tmp_path / "features.pth")
    load_pretrained(BACKBONES[name](), name, str(tmp_path / "features.pth"))


def test_unstrided_resnet_equals_torchvisions_until_its_last_stage():
    theirs, ours = torchvision.models.resnet18().eval(), BACKBONES["resnet18"]().eval()
    ours.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")})
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        until = torch.nn.Sequential(*list(theirs.children())[:7])(images)
        torch.testing.assert_close(ours[:7](images), until)


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"does not fit resnet18: \d+ of \d+ parameters are missing .* conv1.weight"):
        load_pretrained(BACKBONES["resnet18"](), "resnet18", str(tmp_path / "w.pth"))


def test_missing_and_unreadable_files_are_named(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_pretrained(BACKBONES["resnet18"](), "resnet18", str(tmp_path / "none.pth"))
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(UserError, match=r"text.pth is not a readable state_dict"):
        load_pretrained(BACKBONES["resnet18"](), "resnet18", str(tmp_path / "text.pth"))


class Evil:
    """Unpickling this makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_a_file_with_code_in_it_is_refused_and_not_run(tmp_path):
    torch.save({"conv1.weight": Evil(tmp_path / "ran")}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match="not a readable state_dict"):
        load_pretrained(BACKBONES["resnet18"](), "resnet18", str(tmp_path / "evil.pth"))
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_around_the_weights_is_refused(tmp_path):
    torch.save({"state_dict": {}, "epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="plain state_dict"):
        load_pretrained(BACKBONES["resnet18"](), "resnet18", str(tmp_path / "w.pth"))


def test_a_download_that_fails_says_try_later_or_give_a_path(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    # Nothing listens there, so no request leaves the machine.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(TransientError, match=r"cannot download .* give its path as train.pretrained"):
        load_pretrained(BACKBONES["squeezenet1_1"](), "squeezenet1_1", True)
