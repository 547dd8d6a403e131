"""Deep descriptor transforming on descriptors with known directions."""

import numpy as np
import pytest
import torch

from pipeline.cams.ddt import DescriptorMoments, evidence, principal_projections, with_context


def scene(count=40, seed=0):
    """Descriptors of two layers of 3 channels and the object's place ``(N, 8, 8)``, in the middle.

    Layer one varies most with the object along its channel 1, negatively. Layer two varies most along channel 0,
    which has nothing to do with the object, and less along channel 2, which follows it.
    """
    random = torch.Generator().manual_seed(seed)
    place = torch.zeros(count, 8, 8)
    place[:, 2:6, 2:6] = 1.0
    descriptors = 0.05 * torch.randn(count, 6, 8, 8, generator=random) + 3.0
    descriptors[:, 1] -= 4 * place
    descriptors[:, 3] += 5 * torch.randn(count, 8, 8, generator=random)
    descriptors[:, 5] += place
    return descriptors.double(), place


def fitted(descriptors, channels=(3, 3), batch=16):
    moments = DescriptorMoments(channels)
    for part in descriptors.split(batch):
        moments.add(part)
    return principal_projections(moments)


def test_moments_are_those_of_all_positions():
    descriptors, _ = scene()
    moments = DescriptorMoments([3, 3])
    for part in descriptors.split(7):
        moments.add(part)
    rows = descriptors.movedim(1, -1).reshape(-1, 6).numpy()
    np.testing.assert_allclose(moments.total / moments.positions, rows.mean(axis=0), rtol=1e-12)
    means = moments.total / moments.positions
    covariance = moments.products / moments.positions - np.outer(means, means)
    np.testing.assert_allclose(covariance, np.cov(rows.T, bias=True), atol=1e-9)


def test_the_first_component_finds_the_object_whatever_its_sign():
    descriptors, place = scene()
    maps = fitted(descriptors).maps(descriptors)
    assert maps.shape == (40, 2, 8, 8)
    assert (maps[:, 0][place == 1] > 1).all()
    assert (maps[:, 0][place == 0] < 0).all()


def test_a_further_layer_follows_the_leading_one_and_not_its_own_largest_variance():
    descriptors, place = scene()
    projections = fitted(descriptors)
    assert abs(projections.directions[3:]).argmax() == 2
    second = projections.maps(descriptors)[:, 1]
    assert second[place == 1].mean() > 0.5 > 0 > second[place == 0].mean()


def test_directions_are_unit_vectors_of_each_layer():
    projections = fitted(scene()[0])
    for part in (projections.directions[:3], projections.directions[3:]):
        assert np.linalg.norm(part) == pytest.approx(1.0)


def test_the_projection_is_that_of_the_paper_for_one_layer():
    """Equation 4: the first eigenvector of the covariance times the centred descriptor, up to its sign."""
    descriptors, _ = scene()
    first = descriptors[:, :3]
    rows = first.movedim(1, -1).reshape(-1, 3).numpy()
    eigenvector = np.linalg.eigh(np.cov(rows.T, bias=True))[1][:, -1]
    expected = ((rows - rows.mean(axis=0)) @ eigenvector).reshape(40, 8, 8)
    found = fitted(first, channels=[3]).maps(first)[:, 0].numpy()
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-9)


def test_evidence_is_cut_at_zero_and_at_the_98th_percentile():
    maps = torch.linspace(-100, 100, 201).view(1, 1, 201)
    found = evidence(maps)
    assert (found[..., :101] == 0).all()
    assert found.max() == 1
    assert found[0, 0, 100 + 48].item() == pytest.approx(48 / 96, abs=0.01)


def test_a_map_without_evidence_stays_zero():
    assert torch.equal(evidence(-torch.rand(2, 3, 3)), torch.zeros(2, 3, 3))


def test_context_weakens_what_it_does_not_share():
    fine = torch.ones(1, 4, 4)
    coarse = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])
    found = with_context(fine, coarse, 0.25)
    assert (found[0, 0] == 0).all() and (found[0, 3] == 1).all()
    assert found[0, 2, 0].item() == pytest.approx(0.75**0.25)
