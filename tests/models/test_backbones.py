"""Backbones keep the resolution of their last stage and take the library's weights."""

import functools
import os
import runpy
import sys
import urllib.request
from dataclasses import astuple
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file
from torch import nn

from pipeline.errors import TransientError, UserError
from pipeline.models import architectures, backbones
from pipeline.models import pretrained as weights
from pipeline.models.backbones import build_backbone, channels
from pipeline.models.pretrained import load_pretrained
from pipeline.models.zoo import BACKBONES, IMAGENET

#: Channels, and the side of the map at 224 with strides 16 and 8.
EXPECTED = {
    "resnet18": (512, 14, 28),
    "resnet50": (2048, 14, 28),
    "preact_resnet18": (512, 14, 28),
    "se_resnet50": (2048, 14, 28),
    "vgg16": (512, 14, 28),
    "vgg16_conv1024": (1024, 14, 28),
    "googlenet": (832, 14, 28),
    "alexnet": (256, 13, 27),
    "inception_v3": (768, 14, 28),
    "mobilenet_v2": (1280, 14, 28),
    "squeezenet1_1": (512, 13, 27),
    "tf_efficientnet_lite0": (1280, 14, 28),
    "tf_efficientnet_lite2": (1280, 14, 28),
}
#: The last layer before the first un-strided one: until there the library's network is the same.
SHARED = {
    "resnet18": "layer3",
    "resnet50": "layer3",
    "preact_resnet18": "stages.2",
    "se_resnet50": "layer3",
    "vgg16": "features.29",
    "vgg16_conv1024": "features.29",
    "googlenet": "inception4e",
    "alexnet": "features.11",
    "mobilenet_v2": "features.13",
    "squeezenet1_1": "features.12",
    "tf_efficientnet_lite0": "blocks.4",
    "tf_efficientnet_lite2": "blocks.4",
}
SHARED_WEIGHTS = Path(__file__).parents[3] / "shared" / "weights"


def random(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def normalized(images, mean=IMAGENET.mean, std=IMAGENET.std):
    return (images - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)


def library_network(name):
    """The library's own whole network, with statistics of batch norm that are not those it starts with."""
    source = BACKBONES[name].weights
    if source.library == "timm":
        network = timm.create_model(source.model)
    else:
        # What the library builds for its ImageNet weights.
        google = {"transform_input": True, "aux_logits": True, "init_weights": False}
        network = torchvision.models.get_model(source.model, **(google if "incep" in name or "goog" in name else {}))
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.1, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
    return network.eval()


def library_input(name, images):
    """Images as the library's documentation prepares them for its weights."""
    source = BACKBONES[name].weights
    if source.library == "torchvision":
        preset = torchvision.models.get_model_weights(source.model)[source.tag].transforms()
        return normalized(images, preset.mean, preset.std)
    config = timm.get_pretrained_cfg(f"{source.model}.{source.tag}")
    return normalized(images, config.mean, config.std)


def our_input(name, images):
    """Images as the localizer prepares them for this backbone."""
    return normalized(images, *astuple(BACKBONES[name].normalisation))


def outputs(network, layers, images):
    """What some layers of a network put out."""
    found, hooks = {}, []
    for name in layers:
        keep = functools.partial(lambda name, module, inputs, output: found.update({name: output.clone()}), name)
        hooks.append(network.get_submodule(name).register_forward_hook(keep))
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    return found


def save_small(state, kept, path):
    """Save a state dict with a stand-in for each parameter that the backbone does not read: classifiers are large."""
    torch.save({key: value if key in kept else torch.zeros(1) for key, value in state.items()}, path)


@pytest.mark.parametrize("stride", [16, 8])
@pytest.mark.parametrize("name", BACKBONES)
def test_map_at_224_and_gradients_down_to_the_first_convolution(name, stride):
    backbone = build_backbone(name, stride)
    count, *sides = EXPECTED[name]
    side = sides[stride == 8]
    assert channels(backbone) == count
    features = backbone(normalized(random(1, 3, 224, 224)))
    assert features.shape == (1, count, side, side)
    features.square().mean().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in backbone.parameters())
    first = next(layer for layer in backbone.modules() if isinstance(layer, nn.Conv2d))
    assert first.in_channels == 3
    assert first.weight.grad.abs().max() > 0


@pytest.mark.parametrize("stride", [4, 32])
def test_other_strides_are_refused(stride):
    with pytest.raises(UserError, match=rf"vgg16 cannot be built with {stride}; give 16 or 8"):
        build_backbone("vgg16", stride)


@pytest.mark.parametrize("name", [name for name, backbone in BACKBONES.items() if 32 in backbone.strides])
def test_a_stride_of_32_is_the_librarys_network(name):
    theirs, ours = library_network(name), build_backbone(name, 32).eval()
    ours.load_state_dict({key: value for key, value in theirs.state_dict().items() if key in ours.state_dict()})
    images, last = random(1, 3, 224, 224), [layer for layer, _ in ours.named_children()][-1]
    (expected,) = outputs(theirs, [last], library_input(name, images)).values()
    found = ours(our_input(name, images))
    assert found.shape[-2:] == (7, 7)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", BACKBONES)
def test_the_librarys_weights_fit_whole_and_give_its_features(name, tmp_path):
    theirs, ours = library_network(name), build_backbone(name, 16).eval()
    before, state = {key: value.clone() for key, value in ours.state_dict().items()}, theirs.state_dict()
    save_small(state, before, tmp_path / "whole.pth")
    load_pretrained(ours, name, str(tmp_path / "whole.pth"))
    for key, value in ours.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            expected = before[key] if key.startswith(BACKBONES[name].untrained) else state[key]
            torch.testing.assert_close(value, expected, rtol=0, atol=0)
    if name in SHARED:
        images, layer = random(2, 3, 96, 96), SHARED[name]
        (expected,) = outputs(theirs, [layer], library_input(name, images)).values()
        (found,) = outputs(ours, [layer], our_input(name, images)).values()
        assert expected.std() > 0
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet18", "vgg16_conv1024", "googlenet"])
def test_a_backbones_own_weights_fit(name, tmp_path):
    saved = build_backbone(name, 16).state_dict()
    torch.save({key: value for key, value in saved.items() if "num_batches" not in key}, tmp_path / "features.pth")
    backbone = build_backbone(name, 8)
    load_pretrained(backbone, name, str(tmp_path / "features.pth"))
    first = next(iter(saved))
    assert torch.equal(backbone.state_dict()[first], saved[first])


def test_inception_is_the_librarys_with_padding(tmp_path):
    theirs, ours = library_network("inception_v3"), build_backbone("inception_v3", 16).eval()
    ours.load_state_dict({key: value for key, value in theirs.state_dict().items() if key in ours.state_dict()})
    theirs.Conv2d_1a_3x3.conv.padding = (1, 1)
    for pool in (theirs.maxpool1, theirs.maxpool2):
        pool.padding, pool.ceil_mode = 1, True
    images = random(1, 3, 160, 160)
    with torch.no_grad():
        expected = outputs(theirs, ["Mixed_5d"], library_input("inception_v3", images))["Mixed_5d"]
        found = outputs(ours, ["Mixed_5d"], our_input("inception_v3", images))["Mixed_5d"]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        # A row and a column less at the start moves the library's windows onto the padded ones; borders differ.
        shifted, padded = theirs.Mixed_6a(found[..., 1:, 1:]), ours.Mixed_6a(found)
        torch.testing.assert_close(padded[..., 2:-1, 2:-1], shifted[..., 1:-1, 1:-1])
        every = build_backbone("inception_v3", 8).Mixed_6a.eval()
        every.load_state_dict(ours.Mixed_6a.state_dict())
        torch.testing.assert_close(every(found)[..., ::2, ::2], padded)


@pytest.mark.parametrize(
    ("name", "stride8", "stride16"), [("resnet50", "layer2", "layer3"), ("vgg16", "features.22", "features.23")]
)
def test_a_finer_map_changes_nothing_before_the_removed_strides(name, stride8, stride16):
    coarse, fine = build_backbone(name, 16).eval(), build_backbone(name, 8).eval()
    fine.load_state_dict(coarse.state_dict())
    images = normalized(random(1, 3, 64, 64))
    before, after = outputs(coarse, [stride8, stride16], images), outputs(fine, [stride8, stride16], images)
    torch.testing.assert_close(before[stride8], after[stride8])
    assert after[stride16].shape[-1] == 2 * before[stride16].shape[-1]


@pytest.mark.parametrize("stride", [16, 8])
@pytest.mark.parametrize("name", BACKBONES)
def test_what_is_erased_at_an_attention_site_is_gone(name, stride):
    backbone = build_backbone(name, stride).eval()
    images = normalized(random(2, 3, 96, 96))
    sites = BACKBONES[name].attention_sites
    assert len(sites) >= 2
    for site, output in outputs(backbone, sites, images).items():
        assert output.min() >= 0, site
        assert not torch.equal(output[0], output[1]), site
        erase = backbone.get_submodule(site).register_forward_hook(lambda module, inputs, output: 0 * output)
        with torch.no_grad():
            first, second = backbone(images)
        erase.remove()
        torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize("name", BACKBONES)
def test_norms_are_of_the_class_that_freezing_looks_for(name):
    backbone = build_backbone(name, 16)
    norms = [layer for layer in backbone.modules() if hasattr(layer, "running_mean")]
    assert all(isinstance(layer, nn.BatchNorm2d) for layer in norms)
    assert bool(norms) == (not name.startswith(("vgg", "alexnet", "squeezenet")))
    for layer in norms:
        layer.eval()
    before = {key: value.clone() for key, value in backbone.named_buffers()}
    backbone(random(2, 3, 64, 64))
    assert all(torch.equal(value, before[key]) for key, value in backbone.named_buffers())


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v2", "tf_efficientnet_lite0", "tf_efficientnet_lite2"])
@pytest.mark.skipif(not SHARED_WEIGHTS.is_dir(), reason="no ImageNet weights beside the repository")
def test_real_weights_load(name):
    (path,) = SHARED_WEIGHTS.glob(f"{name}*.pth")
    backbone = build_backbone(name, 16)
    load_pretrained(backbone, name, str(path))
    saved = torch.load(path, weights_only=True)
    assert all(torch.equal(value, saved[key]) for key, value in backbone.named_parameters())


def test_safetensors_files_load(tmp_path):
    theirs = timm.create_model("resnetv2_18").state_dict()
    save_file(theirs, tmp_path / "model.safetensors")
    backbone = build_backbone("preact_resnet18", 16)
    load_pretrained(backbone, "preact_resnet18", str(tmp_path / "model.safetensors"))
    assert torch.equal(backbone.stem.conv.weight, theirs["stem.conv.weight"])
    (tmp_path / "text.safetensors").write_text("weights")
    with pytest.raises(UserError, match=r"text.safetensors is not a readable state_dict"):
        load_pretrained(backbone, "preact_resnet18", str(tmp_path / "text.safetensors"))


@pytest.mark.parametrize("name", BACKBONES)
def test_the_library_knows_the_weights(name):
    source = BACKBONES[name].weights
    if source.library == "timm":
        assert timm.get_pretrained_cfg(f"{source.model}.{source.tag}").hf_hub_id
    else:
        assert source.tag in torchvision.models.get_model_weights(source.model).__members__


@pytest.mark.parametrize("stride", [16, 8])
def test_averages_before_a_projection_do_not_halve_the_map(stride):
    network = architectures.timm_resnet("resnet10t", stride).eval()
    assert network(random(1, 3, 64, 64)).shape == (1, 512, 64 // stride, 64 // stride)


def test_timm_is_imported_by_its_own_backbones_only(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    for module in (backbones, weights):
        runpy.run_path(module.__file__)
    fresh = runpy.run_path(architectures.__file__)
    fresh["squeezenet1_1"](16)
    with pytest.raises(ImportError, match="timm"):
        fresh["preact_resnet18"](16)


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "w.pth")
    with pytest.raises(
        UserError, match=r"does not fit resnet18: \d+ of \d+ parameters are missing .* conv1.weight.* torchvision's"
    ):
        load_pretrained(build_backbone("resnet18", 16), "resnet18", str(tmp_path / "w.pth"))


@pytest.mark.parametrize(
    ("name", "larger", "first"),
    [
        ("resnet18", lambda: torchvision.models.resnet34(), "layer1.2.conv1.weight"),
        ("resnet50", lambda: timm.create_model("seresnet50"), "layer1.0.se.fc1.weight"),
    ],
)
def test_weights_of_a_larger_network_that_has_every_name_are_refused(tmp_path, name, larger, first):
    save_small(larger().state_dict(), build_backbone(name, 16).state_dict(), tmp_path / "w.pth")
    backbone = build_backbone(name, 16)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with pytest.raises(UserError, match=rf"is of a larger network than {name}: \d+ of .* first {first}\."):
        load_pretrained(backbone, name, str(tmp_path / "w.pth"))
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_missing_and_unreadable_files_are_named(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        load_pretrained(build_backbone("resnet18", 16), "resnet18", str(tmp_path / "none.pth"))
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(UserError, match=r"text.pth is not a readable state_dict"):
        load_pretrained(build_backbone("resnet18", 16), "resnet18", str(tmp_path / "text.pth"))


class Evil:
    """Unpickling this makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_a_file_with_code_in_it_is_refused_and_not_run(tmp_path):
    torch.save({"conv1.weight": Evil(tmp_path / "ran")}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match="not a readable state_dict"):
        load_pretrained(build_backbone("resnet18", 16), "resnet18", str(tmp_path / "evil.pth"))
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_around_the_weights_is_refused(tmp_path):
    torch.save({"state_dict": {}, "epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(UserError, match="plain state_dict"):
        load_pretrained(build_backbone("resnet18", 16), "resnet18", str(tmp_path / "w.pth"))


def test_a_download_that_fails_says_try_later_or_give_a_path(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    # The standard library keeps the proxies of its first request for the life of the process.
    monkeypatch.setattr(urllib.request, "_opener", None)
    # Nothing listens there, so no request leaves the machine.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with pytest.raises(TransientError, match=r"cannot download .* give its path as train.pretrained"):
        load_pretrained(build_backbone("squeezenet1_1", 16), "squeezenet1_1", True)


def test_timms_download_arrives_and_its_failure_says_try_later(monkeypatch):
    backbone, theirs = build_backbone("se_resnet50", 16), timm.create_model("seresnet50")
    asked = []
    monkeypatch.setattr(timm, "create_model", lambda name, pretrained: asked.append((name, pretrained)) or theirs)
    load_pretrained(backbone, "se_resnet50", True)
    assert asked == [("seresnet50.ra2_in1k", True)]
    assert torch.equal(backbone.conv1.weight, theirs.conv1.weight)

    def fail(name, pretrained):
        raise LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(TransientError, match=r"weights of se_resnet50: no connection.* give its path as train.pretr"):
        load_pretrained(backbone, "se_resnet50", True)
