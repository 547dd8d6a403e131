"""The network, and the file it is kept in."""

import pytest
import torch

from pipeline.errors import UserError
from pipeline.models.heads import build_head
from pipeline.models.localizer import Localizer, build_localizer, load_localizers, save_localizers

ARCHITECTURE = {
    "backbone": "resnet18", "stride": 16, "head": "gap", "tap_threshold": 0.1, "acol_threshold": 0.6, "acol_width": 4,
    "classes": 3, "ae_threshold": 0.5,
}  # fmt: skip


def network_of_channels(classes=2):
    """A network whose features are the normalised channels themselves."""
    return Localizer(torch.nn.Identity(), build_head(ARCHITECTURE | {"classes": classes}, channels=3))


def test_logits_are_those_of_normalised_images():
    network = network_of_channels()
    torch.nn.init.ones_(network.head.weight)
    torch.nn.init.zeros_(network.head.bias)
    images = torch.tensor([124, 116, 104], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    statistics = ((124, 0.485, 0.229), (116, 0.456, 0.224), (104, 0.406, 0.225))
    expected = sum((value / 255 - mean) / deviation for value, mean, deviation in statistics)
    torch.testing.assert_close(network(images), torch.full((1, 1, 2), expected), rtol=1e-5, atol=1e-6)


def test_images_are_normalised_as_the_backbones_entry_says():
    network = build_localizer(ARCHITECTURE | {"backbone": "googlenet"})
    seen = []
    network.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network.features(torch.tensor([0, 255, 51], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 64, 64))
    torch.testing.assert_close(seen[0][0, :, 0, 0], torch.tensor([-1.0, 1.0, -0.6]))


def test_map_averages_to_the_logit_without_its_bias():
    torch.manual_seed(0)
    network = build_localizer(ARCHITECTURE).eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        maps = network.head.class_maps(network.features(images), torch.arange(3).repeat(2, 1))
        torch.testing.assert_close(maps.mean(dim=(2, 3)) + network.head.bias, network(images)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2])
def test_round_trip_through_the_file(tmp_path, count):
    torch.manual_seed(0)
    networks = [build_localizer(ARCHITECTURE).eval() for _ in range(count)]
    save_localizers(tmp_path / "model.pt", networks, ARCHITECTURE)
    loaded, architecture = load_localizers(tmp_path / "model.pt")
    assert architecture == ARCHITECTURE
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    for one, other in zip(networks, loaded, strict=True):
        assert not other.training
        with torch.no_grad():
            torch.testing.assert_close(other(images), one(images), rtol=0, atol=0)


def test_equal_weights_are_equal_bytes(tmp_path):
    for name in ("a.pt", "other.pt"):
        torch.manual_seed(0)
        save_localizers(tmp_path / name, [build_localizer(ARCHITECTURE)], ARCHITECTURE)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "other.pt").read_bytes()


def test_the_file_holds_nothing_but_tensors_and_plain_values(tmp_path):
    save_localizers(tmp_path / "model.pt", [build_localizer(ARCHITECTURE)], ARCHITECTURE)
    saved = torch.load(tmp_path / "model.pt", weights_only=True)
    assert saved.keys() == {"architecture", "state_dicts"}


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"no model")
    with pytest.raises(UserError, match=r"model\.pt"):
        load_localizers(tmp_path / "model.pt")
