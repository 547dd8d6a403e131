"""The classifier, and the file it is kept in."""

import torch

from pipeline.models.localizer import Localizer, build_localizer, load_localizer, save_localizer
from pipeline.wsol.cam import class_activation_maps

ARCHITECTURE = {"backbone": "resnet18", "head": "gap", "classes": 3}


class Mean(torch.nn.Module):
    """A backbone whose features are the normalised channels themselves."""

    def forward(self, images):
        return images


def test_logits_are_those_of_normalised_images():
    network = Localizer(Mean(), classes=2)
    torch.nn.init.ones_(network.head.weight)
    torch.nn.init.zeros_(network.head.bias)
    images = torch.tensor([124, 116, 104], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    statistics = ((124, 0.485, 0.229), (116, 0.456, 0.224), (104, 0.406, 0.225))
    expected = sum((value / 255 - mean) / deviation for value, mean, deviation in statistics)
    torch.testing.assert_close(network(images), torch.full((1, 2), expected), rtol=1e-5, atol=1e-6)


def test_map_averages_to_the_logit_without_its_bias():
    torch.manual_seed(0)
    network = build_localizer(ARCHITECTURE).eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        features = network.features(images)
        maps = class_activation_maps(features, network.head.weight, torch.arange(3).repeat(2, 1))
        torch.testing.assert_close(maps.mean(dim=(2, 3)) + network.head.bias, network(images), rtol=1e-4, atol=1e-5)


def test_round_trip_through_the_file(tmp_path):
    torch.manual_seed(0)
    network = build_localizer(ARCHITECTURE).eval()
    save_localizer(tmp_path / "model.pt", network, ARCHITECTURE)
    loaded, architecture = load_localizer(tmp_path / "model.pt")
    assert architecture == ARCHITECTURE
    assert not loaded.training
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), network(images), rtol=0, atol=0)


def test_equal_weights_are_equal_bytes(tmp_path):
    for name in ("a.pt", "other.pt"):
        torch.manual_seed(0)
        save_localizer(tmp_path / name, build_localizer(ARCHITECTURE), ARCHITECTURE)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "other.pt").read_bytes()


def test_the_file_holds_nothing_but_tensors_and_plain_values(tmp_path):
    save_localizer(tmp_path / "model.pt", build_localizer(ARCHITECTURE), ARCHITECTURE)
    saved = torch.load(tmp_path / "model.pt", weights_only=True)
    assert saved.keys() == {"architecture", "state_dict"}
