"""Maps and logits from networks small enough to compute by hand."""

import pytest
import torch

from pipeline.cams.extractor import Extractor, ten_crop_logits
from pipeline.cams.method import MapMethod
from pipeline.cams.methods import find_method
from pipeline.cams.views import Views
from pipeline.models.adversarial_erasing import erase_found
from pipeline.models.cam import normalize_maps
from pipeline.models.heads import build_head
from pipeline.models.localizer import Localizer
from pipeline.params import ExtractCamsParams
from tests.training.trainings import settings, small_network

SETTINGS = {
    "method": "cam", "clamp_negative_weights": False, "relu": False, "acol_map": "fused", "ten_crop": False,
    "batch_size": 4, "flip": False, "ddt_layers": ["2@32", "5@32"], "ddt_context": 0.25,
}  # fmt: skip
CLASSES = torch.tensor([[0, 1], [1, 0]])


def how(**changes):
    return ExtractCamsParams.model_validate(SETTINGS | changes)


def class_maps(network, features, classes, settings):
    """Of the method that the settings name; the images are not looked at."""
    method = find_method(settings.method)(network, settings, "float32")
    return method.maps(Views(torch.zeros(0)), classes, features)


def network_with(head="gap", seed=0):
    torch.manual_seed(seed)
    return small_network(settings(head=head)).double().eval()


@pytest.fixture
def images():
    return torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("head", ["gap", "conv"])
def test_grad_cam_is_cam_up_to_a_positive_factor(images, head):
    network = network_with(head)
    with torch.no_grad():
        features = network.features(images)
        cam, gradients = (class_maps(network, features, CLASSES, how(method=m)) for m in ("cam", "grad_cam"))
    torch.testing.assert_close(normalize_maps(gradients), normalize_maps(cam), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", ["grad_cam", "grad_cam_plus_plus", "layer_cam"])
def test_gradient_methods_differ_between_classes_and_leave_the_network_alone(images, method):
    network = network_with("tap")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        maps = class_maps(network, network.features(images), CLASSES, how(method=method))
    assert maps.shape == (2, 2, 8, 8) and torch.isfinite(maps).all()
    assert not torch.allclose(maps[:, 0], maps[:, 1])
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_relu_cuts_negative_values(images):
    network = network_with()
    with torch.no_grad():
        features = network.features(images)
        plain, cut = (class_maps(network, features, CLASSES, how(relu=relu)) for relu in (False, True))
    assert (plain < 0).any()
    assert torch.equal(cut, plain.clamp(min=0))


@torch.no_grad()
def test_classes_are_true_and_predicted(images):
    network = network_with()
    labels = torch.tensor([1, 1])
    classes, maps, logits = Extractor([network], 0.5, how())(labels, Views(images))
    assert torch.equal(classes, torch.stack([labels, logits.argmax(dim=1)], dim=1))
    assert torch.equal(logits, network(images)[0])
    torch.testing.assert_close(maps, network.head.class_maps(network.features(images), classes))


@torch.no_grad()
def test_two_networks_of_adversarial_erasing_give_the_union_of_their_maps(images):
    networks = [network_with(seed=seed) for seed in (0, 1)]
    labels = torch.tensor([0, 1])
    classes, maps, logits = Extractor(networks, 0.7, how())(labels, Views(images))
    assert torch.equal(logits, networks[0](images)[0])
    for position in range(2):
        label = classes[:, position]
        first = networks[0].head.class_maps(networks[0].features(images), label[:, None])[:, 0]
        erased = erase_found(networks[0], images, label, 0.7)
        second = networks[1].head.class_maps(networks[1].features(erased), label[:, None])[:, 0]
        expected = torch.maximum(normalize_maps(first), normalize_maps(second))
        torch.testing.assert_close(maps[:, position], expected)


class CentreRed(torch.nn.Module):
    """One feature: the red value of the crop's middle pixel."""

    def forward(self, images):
        middle = images.shape[-1] // 2
        return images[:, :1, middle : middle + 1, middle : middle + 1]


@torch.no_grad()
def test_ten_crops_are_corners_and_centre_mirrored():
    """The mean prediction over what is in the middle of the ten windows."""
    architecture = {"head": "gap", "classes": 2, "backbone": "", "tap_threshold": 0.1}
    network = Localizer(CentreRed(), build_head(architecture, channels=1))
    network.mean.zero_()
    network.std.fill_(100)
    network.head.weight.copy_(torch.tensor([[1.0], [0.0]]))
    network.head.bias.zero_()
    images = torch.randint(0, 256, (1, 3, 7, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    red = images[0, 0].double() / 100
    # Crops of 3 in 7: tops and lefts 0 and 4, centre 2; the middle pixel is one further. A mirrored image has the same
    # middle pixels with columns counted from the right, and its windows are the same five.
    places = [(1, 1), (1, 5), (5, 1), (5, 5), (3, 3)]
    expected = sum(torch.sigmoid(red[y, x]) for y, x in places) / 5
    assert ten_crop_logits(network, images, 3).exp()[0, 0].item() == pytest.approx(expected.item(), rel=1e-5)


@torch.no_grad()
def test_ten_crops_classify_and_the_whole_image_localizes(images):
    network = network_with()
    larger = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1])
    _, maps, logits = Extractor([network], 0.5, how(ten_crop=True))(labels, Views(images, larger))
    assert torch.equal(logits, ten_crop_logits(network, larger, 32))
    torch.testing.assert_close(maps[:, 0], network.head.class_maps(network.features(images), labels[:, None])[:, 0])


@torch.no_grad()
@pytest.mark.parametrize("method", ["cam", "layer_cam"])
def test_flipped_maps_are_turned_back_and_averaged(images, method):
    network, labels = network_with(), torch.tensor([0, 1])
    plain, flipped = (Extractor([network], 0.5, how(method=method, flip=flip)) for flip in (False, True))
    classes, maps, logits = flipped(labels, Views(images))
    one = plain(labels, Views(images))
    assert torch.equal(logits, one[2])
    mirrored = class_maps(network, network.features(images.flip(-1)), classes, how(method=method)).flip(-1)
    torch.testing.assert_close(maps, (one[1] + mirrored) / 2)
    assert not torch.allclose(maps, one[1])


class Red(MapMethod):
    """The map is the largest images' red."""

    def maps(self, views, classes, _features=None):
        return views.large[max(views.large)][:, :1].double().expand(-1, classes.shape[1], -1, -1)


@torch.no_grad()
def test_maps_are_flipped_in_all_sizes(images):
    network, labels = network_with(), torch.tensor([0, 1])
    large = {40: torch.arange(40.0).repeat(2, 3, 40, 1), 36: torch.zeros(2, 3, 36, 36)}
    extractor = Extractor([network], 0.5, how(flip=True))
    extractor.methods = [Red(network, extractor.settings, "float32")]
    maps = extractor(labels, Views(images, large=large))[1]
    # Each column and its mirror image, turned back, are the same column.
    torch.testing.assert_close(maps[0, 0], torch.arange(40.0).repeat(40, 1).double())


@torch.no_grad()
@pytest.mark.parametrize("ten_crop", [False, True])
def test_all_of_the_networks_own_work_is_done_in_the_precision_asked_for(images, ten_crop):
    networks = [network_with(seed=seed).float() for seed in (0, 1)]
    types = []
    for network in networks:
        network.backbone[3].register_forward_hook(lambda _, __, output: types.append(output.dtype))
    larger = torch.randint(0, 256, (2, 3, 40, 40), dtype=torch.uint8)
    extract = Extractor(networks, 0.5, how(ten_crop=ten_crop), "bfloat16")
    _, maps, logits = extract(torch.tensor([0, 1]), Views(images, larger if ten_crop else None))
    assert set(types) == {torch.bfloat16}
    # The whole image, the second network's erased one for two classes, what is erased from it, and the ten crops.
    assert len(types) == 5 + 10 * ten_crop
    assert maps.dtype == logits.dtype == torch.float32
