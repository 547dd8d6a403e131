"""Heads against their definitions."""

import pytest
import torch

from pipeline.models.cam import normalize_maps
from pipeline.models.heads import AcolHead, ConvHead, build_head

ARCHITECTURE = {"backbone": "resnet18", "classes": 3, "tap_threshold": 0.5, "acol_threshold": 0.6, "acol_width": 5}
HEADS = ("gap", "gmp", "tap", "conv", "acol")


def head_of(name, **changes):
    torch.manual_seed(0)
    return build_head(ARCHITECTURE | {"head": name} | changes, channels=4).double()


@pytest.fixture
def features():
    return torch.rand(2, 4, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


CLASSES = torch.tensor([[0, 2], [1, 1]])


@pytest.mark.parametrize("name", HEADS)
def test_shapes_of_logits_and_maps(features, name):
    head = head_of(name)
    assert head(features, torch.tensor([0, 1])).shape == (2 if name == "acol" else 1, 2, 3)
    assert head.class_maps(features, CLASSES).shape == (2, 2, 6, 5)


def test_the_convolution_is_the_head_of_cam(features):
    """By linearity: the same weights give the same logits and maps."""
    pooled, convolved = head_of("gap"), head_of("conv")
    with torch.no_grad():
        convolved.weight.copy_(pooled.weight[:, :, None, None])
        convolved.bias.copy_(pooled.bias)
    torch.testing.assert_close(pooled(features), convolved(features), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(pooled.class_maps(features, CLASSES), convolved.class_maps(features, CLASSES))


def test_maximum_pooling_sees_the_peaks_only(features):
    head = head_of("gmp")
    torch.testing.assert_close(head(features)[0], features.amax(dim=(2, 3)) @ head.weight.T + head.bias)
    lower = features.clone()
    lower[features < features.amax(dim=(2, 3), keepdim=True)] = 0
    torch.testing.assert_close(head(features), head(lower))


def test_thresholded_pooling_leaves_out_low_values_of_the_logits_but_not_of_the_map(features):
    pooled, thresholded = head_of("gap"), head_of("tap")
    kept = features * (features > 0.5 * features.amax(dim=(2, 3), keepdim=True))
    count = (kept > 0).sum(dim=(2, 3))
    expected = (kept.sum(dim=(2, 3)) / count) @ thresholded.weight.T + thresholded.bias
    torch.testing.assert_close(thresholded(features)[0], expected)
    torch.testing.assert_close(thresholded.class_maps(features, CLASSES), pooled.class_maps(features, CLASSES))


@pytest.mark.parametrize("name", HEADS)
def test_clamping_changes_the_map_and_not_the_logits(features, name):
    head = head_of(name)
    before = head(features)
    clamped = head.class_maps(features, CLASSES, clamp_negative_weights=True)
    assert not torch.allclose(clamped, head.class_maps(features, CLASSES))
    assert torch.equal(head(features), before)
    if name in ("gap", "gmp", "tap"):
        weights = head.weight.detach().clamp(min=0)[CLASSES]
        torch.testing.assert_close(clamped, torch.einsum("nkhw,nmk->nmhw", features, weights))


def test_the_second_branch_does_not_see_what_the_first_found(features):
    head = head_of("acol")
    labels = torch.tensor([2, 0])
    found = normalize_maps(head.first.class_maps(features, labels[:, None], False)[:, 0])
    hidden = features * (found < 0.6)[:, None]
    assert 0 < (found >= 0.6).sum() < found.numel()
    logits = head(features, labels)
    torch.testing.assert_close(logits[0], head.first(features)[0][0])
    torch.testing.assert_close(logits[1], head.second(hidden)[0][0])


def test_without_labels_the_prediction_is_hidden(features):
    head = head_of("acol")
    predicted = head(features)[0].argmax(dim=1)
    torch.testing.assert_close(head(features), head(features, predicted))


def test_the_fused_map_is_the_maximum_of_both_normalised(features):
    head = head_of("acol")
    maps = {}
    for head.select in ("first", "second", "fused"):
        maps[head.select] = head.class_maps(features, CLASSES)
    expected = torch.maximum(normalize_maps(maps["first"]), normalize_maps(maps["second"]))
    torch.testing.assert_close(maps["fused"], expected)
    assert not torch.allclose(maps["first"], maps["second"])


def test_each_class_hides_its_own_region(features):
    head = head_of("acol")
    head.select = "second"
    both = head.class_maps(features, torch.tensor([[0, 1], [0, 1]]))
    for m in range(2):
        alone = head.class_maps(features, torch.full((2, 1), m))
        torch.testing.assert_close(both[:, [m]], alone)


def test_gradients_reach_the_features_through_both_branches(features):
    head = head_of("acol")
    for branch in range(2):
        leaf = features.clone().requires_grad_()
        head(leaf, torch.tensor([0, 1]))[branch].sum().backward()
        assert leaf.grad.abs().sum() > 0


def test_constant_features_give_no_nan():
    head = head_of("acol")
    features = torch.ones(2, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    logits = head(features, torch.tensor([0, 1]))
    logits.sum().backward()
    assert torch.isfinite(logits).all() and torch.isfinite(features.grad).all()
    assert torch.isfinite(head.class_maps(features, CLASSES)).all()


def test_only_vgg_smooths_before_the_branches(features):
    plain, smooth = head_of("acol"), head_of("acol", backbone="vgg16")
    smooth.load_state_dict(plain.state_dict())
    assert not torch.allclose(plain(features), smooth(features))
    inner = torch.nn.functional.avg_pool2d(features, 3, stride=1, padding=1)
    torch.testing.assert_close(smooth(features, torch.tensor([0, 1])), plain(inner, torch.tensor([0, 1])))


def test_branches_have_weights_of_their_own():
    head = head_of("acol")
    assert isinstance(head, AcolHead) and isinstance(head.first.classifier, ConvHead)
    assert not torch.equal(head.first.trunk[0].weight, head.second.trunk[0].weight)
