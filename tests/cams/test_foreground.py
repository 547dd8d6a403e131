"""Maps from inner layers, of a network whose layers are mean colours."""

import pytest
import torch

from pipeline.cams.foreground import Foreground
from pipeline.errors import UserError
from pipeline.models.heads import build_head
from pipeline.models.localizer import Localizer
from tests.training.trainings import settings

SOURCES = [("1", 48), ("0", 48), ("0", 36)]


@pytest.fixture
def network():
    backbone = torch.nn.Sequential(torch.nn.AvgPool2d(2), torch.nn.AvgPool2d(2))
    return Localizer(backbone, build_head(settings().model_dump() | {"classes": 2}, channels=3)).eval()


def images(side, count=6):
    """A bright square in the middle of a dark image."""
    pictures = torch.randint(0, 40, (count, 3, side, side), generator=torch.Generator().manual_seed(0))
    third = side // 3
    pictures[:, :, third : side - third, third : side - third] += 200
    return pictures.to(torch.uint8)


@torch.no_grad()
@pytest.mark.parametrize("context", [0.0, 0.25])
def test_it_finds_what_stands_in_the_middle_of_all_images(network, context):
    foreground = Foreground(network, SOURCES, context)
    large, small = {side: images(side) for side in (36, 48)}, images(24)
    parts = [({side: large[side][part] for side in large}, small[part]) for part in (slice(4), slice(4, 6))]
    foreground.fit(parts)
    maps = foreground(large, small)
    assert maps.shape == (6, 12, 12)
    inside = maps[:, 5:7, 5:7].mean()
    outside = torch.cat([maps[:, :2].flatten(), maps[:, -2:].flatten()]).mean()
    assert inside > 1.5 > 0.1 > outside


@torch.no_grad()
def test_the_network_and_its_layers_are_left_as_they_were(network):
    before = network(images(24))
    foreground = Foreground(network, SOURCES, 0.5)
    large = {side: images(side) for side in (36, 48)}
    foreground.fit([(large, images(24))])
    foreground(large, images(24))
    assert torch.equal(network(images(24)), before)
    assert not any(module._forward_hooks for module in network.modules())


@torch.no_grad()
def test_what_was_fitted_may_be_kept_and_taken_again(network):
    fitted, other = Foreground(network, SOURCES, 0.25), Foreground(network, SOURCES, 0.25)
    large, small = {side: images(side) for side in (36, 48)}, images(24)
    fitted.fit([(large, small)])
    other.load(fitted.state())
    assert torch.equal(other(large, small), fitted(large, small))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fine.means": None}, "have no means"),
        ({"coarse.directions": torch.zeros(2)}, "do not fit their channels"),
        ({"fine.channels": torch.tensor([10, -1])}, "do not fit their channels"),
    ],
)
def test_projections_that_are_not_whole_are_refused(network, change, message):
    foreground = Foreground(network, SOURCES, 0.0)
    foreground.fit([({side: images(side) for side in (36, 48)}, images(24))])
    state = {name: value for name, value in (foreground.state() | change).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        foreground.load(state)


def test_an_unknown_layer_is_named_with_those_there_are(network):
    with pytest.raises(UserError, match=r"ddt_layers: the backbone has no layer layer9; it has 0, 1"):
        Foreground(network, [("1", 48), ("layer9", 48)], 0.0)
