"""Attention-based dropout as modules, and their places inside a backbone."""

import copy

import pytest
import torch
from torch import nn

from pipeline.models.attention_dropout import (
    AttentionDropout,
    RegionDropout,
    attention_drop_mask,
    attention_importance,
    insert_after,
    region_drop_mask,
)
from pipeline.models.backbones import build_backbone

KINDS = {
    "ADL": (lambda rate: AttentionDropout(rate, 0.8), lambda features: attention_drop_mask(features, 0.8)),
    "RDAP": (lambda rate: RegionDropout(rate, 2), lambda features: region_drop_mask(features, 2)),
}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


@pytest.fixture
def features():
    return torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))


def test_identity_outside_training(kind, features):
    assert kind[0](1.0).eval()(features) is features


def test_rate_one_always_drops_and_rate_zero_always_highlights(kind, features):
    make, mask = kind
    torch.testing.assert_close(make(1.0)(features), features * mask(features), rtol=0, atol=0)
    torch.testing.assert_close(make(0.0)(features), features * attention_importance(features), rtol=0, atol=0)
    assert not torch.equal(make(1.0)(features), make(0.0)(features))


def test_one_bernoulli_a_pass_decides_for_the_whole_batch(kind, features):
    make, mask = kind
    dropout = make(0.75)
    dropped, highlighted = features * mask(features), features * attention_importance(features)
    torch.manual_seed(0)
    passes = [dropout(features) for _ in range(1000)]
    drops = [torch.equal(found, dropped) for found in passes]
    assert all(drop or torch.equal(found, highlighted) for drop, found in zip(drops, passes, strict=True))
    assert sum(drops) / 1000 == pytest.approx(0.75, abs=0.05)


def test_one_random_number_a_pass_from_torchs_default_generator(kind, features):
    dropout = kind[0](0.5)
    torch.manual_seed(7)
    torch.rand(())
    expected = torch.get_rng_state()
    torch.manual_seed(7)
    first = dropout(features)
    assert torch.equal(torch.get_rng_state(), expected)
    torch.manual_seed(7)
    assert torch.equal(dropout(features), first)


def test_gradients_reach_the_features_through_the_mask_that_was_drawn(kind, features):
    make, mask = kind
    point = features.clone().requires_grad_()
    make(1.0)(point).sum().backward()
    assert torch.equal(point.grad, mask(features).expand_as(features))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_type_of_the_features_is_kept(kind, features, dtype):
    for rate in (0.0, 1.0):
        assert kind[0](rate)(features.to(dtype)).dtype == dtype


# Insertion


class Scale(nn.Module):
    """Multiplies by a factor, 0 at first, in training."""

    factor = 0.0

    def forward(self, features):
        return features * self.factor if self.training else features


class Block(nn.Module):
    """A site that is no sequential, with a sequential inside."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())

    def forward(self, images):
        return images + self.body(images)


def backbone():
    torch.manual_seed(0)
    return nn.Sequential(Block(), nn.Conv2d(3, 4, 1))


IMAGES = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1)) + 0.1


def bias(network):
    """What a last convolution makes of zeros."""
    return network[1].bias.view(1, 4, 1, 1).expand(2, 4, 4, 4)


@pytest.mark.parametrize(
    ("site", "expected"),
    [
        ("0", bias),  # a module, by its hook
        ("0.body", lambda network: network[1](IMAGES)),  # a sequential, by its new child: the sum keeps the images
        ("0.body.1", lambda network: network[1](IMAGES)),  # a module inside it
        ("1", lambda network: torch.zeros(2, 4, 4, 4)),
    ],
)
def test_the_output_of_the_site_goes_through_the_module_once_and_in_training_only(site, expected):
    plain, network = backbone(), backbone()
    insert_after(network, [site], Scale)
    assert torch.equal(network(IMAGES), expected(plain))
    assert torch.equal(network.eval()(IMAGES), plain(IMAGES))
    assert torch.equal(network.train()(IMAGES), expected(plain))


@pytest.mark.parametrize("site", ["0", "0.body"])
def test_each_pass_draws_once_for_each_site(site):
    network = backbone()
    insert_after(network, [site, "1"], lambda: AttentionDropout(0.5, 0.9))
    torch.manual_seed(3)
    torch.rand(())
    torch.rand(())
    expected = torch.get_rng_state()
    torch.manual_seed(3)
    network(IMAGES)
    assert torch.equal(torch.get_rng_state(), expected)


def test_weights_fit_both_ways():
    network = backbone()
    insert_after(network, ["0", "0.body", "1"], Scale)
    assert list(network.state_dict()) == list(backbone().state_dict())
    network.load_state_dict(backbone().state_dict())
    backbone().load_state_dict(network.state_dict())


@pytest.mark.parametrize("site", ["0", "0.body"])
def test_a_deep_copy_has_dropout_of_its_own(site):
    network = backbone()
    insert_after(network, [site], Scale)
    twin = copy.deepcopy(network).eval()
    assert not torch.equal(network(IMAGES), twin(IMAGES))
    assert torch.equal(network(IMAGES), twin.train()(IMAGES))
    next(module for module in twin.modules() if isinstance(module, Scale)).factor = 1.0
    assert torch.equal(twin(IMAGES), backbone()(IMAGES))
    assert not torch.equal(network(IMAGES), twin(IMAGES))


def test_a_compiled_backbone_drops_and_does_not_break_its_graph():
    network = backbone()
    insert_after(network, ["0", "0.body"], lambda: RegionDropout(1.0, 2))
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(IMAGES), network(IMAGES))
    assert not torch.equal(compiled(IMAGES), backbone()(IMAGES))
    network.eval()
    torch.testing.assert_close(compiled(IMAGES), backbone()(IMAGES))


def test_unknown_sites_are_named_and_nothing_is_inserted():
    network = backbone()
    with pytest.raises(ValueError, match=r"no submodule layer9, 0\.tail in Sequential: it has .*0\.body"):
        insert_after(network, ["0", "layer9", "0.tail"], Scale)
    assert torch.equal(network(IMAGES), backbone()(IMAGES))


def test_the_papers_sites_of_a_resnet():
    network = build_backbone("resnet18", 16)
    insert_after(network, ["layer3.0", "layer4.0", "layer4.1"], lambda: AttentionDropout(0.75, 0.9))
    assert sum(isinstance(module, AttentionDropout) for module in network.modules()) == 3
    assert list(network.state_dict()) == list(build_backbone("resnet18", 16).state_dict())
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 512, 4, 4)
