"""What one network found is hidden from the next."""

import pytest
import torch

from pipeline.models.adversarial_erasing import erase_found
from pipeline.models.heads import build_head
from pipeline.models.localizer import Localizer
from tests.models.test_localizer import network_of_channels
from tests.training.trainings import settings


def test_what_a_network_finds_is_erased_with_the_mean_colour():
    """The map is the red channel: its bright half goes."""
    network = network_of_channels(classes=1)
    with torch.no_grad():
        network.head.weight.copy_(torch.tensor([[1.0, 0, 0]]))
    images = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    images[0, 0, :, 2:] = 200
    erased = erase_found(network, images, torch.tensor([0]), threshold=0.5)
    mean = network.mean.flatten().round().to(torch.uint8)
    assert (erased[0, :, :, 2:] == mean[:, None, None]).all()
    assert torch.equal(erased[..., :2], images[..., :2])


class Recorder(torch.nn.Conv2d):
    """A backbone of one convolution that notes the type of what it puts out."""

    def forward(self, images):
        output = super().forward(images)
        self.dtype = output.dtype
        return output


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)]
)
def test_features_are_computed_in_the_precision_asked_for(precision, dtype):
    torch.manual_seed(0)
    backbone = Recorder(3, 4, 3, padding=1)
    network = Localizer(backbone, build_head(settings().model_dump() | {"classes": 2}, channels=4))
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    erased = erase_found(network, images, torch.tensor([0, 1]), 0.5, precision)
    assert backbone.dtype == dtype
    assert erased.dtype == torch.uint8
    assert 0 < (erased != images).double().mean() < 1
