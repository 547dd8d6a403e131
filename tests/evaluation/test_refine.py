import sys

import numpy as np
import pytest

from pipeline.evaluation.refine import CrfSettings, refine
from pipeline.evaluation.score_maps import gaussian_map


@pytest.fixture
def square():
    """A bright square on dark ground, and where it is."""
    inside = np.zeros((64, 64), bool)
    inside[18:46, 18:46] = True
    image = np.where(inside[..., None], np.uint8(220), np.uint8(30)).repeat(3, axis=2)
    return image, inside


def overlap(mask, other):
    return (mask & other).sum() / (mask | other).sum()


def test_a_round_map_takes_the_shape_of_the_square(square):
    pytest.importorskip("pydensecrf", reason="needs the extra `crf`")
    image, inside = square
    score_map = gaussian_map(64, 14)
    refined = refine(score_map, image)
    assert overlap(score_map > 0.5, inside) < 0.85
    assert overlap(refined > 0.5, inside) > 0.98
    assert refined.dtype == np.float64
    assert refined.min() >= 0
    assert refined.max() <= 1


def test_without_pairwise_weight_the_map_is_returned(square):
    pytest.importorskip("pydensecrf", reason="needs the extra `crf`")
    score_map = np.clip(gaussian_map(64, 14), 0.01, 0.99)
    refined = refine(score_map, square[0], CrfSettings(smoothness=0.0, appearance=0.0))
    assert refined == pytest.approx(score_map, abs=1e-5)


def test_certain_pixels_stay_finite(square):
    pytest.importorskip("pydensecrf", reason="needs the extra `crf`")
    image, inside = square
    refined = refine(inside.astype(float), image)
    assert np.isfinite(refined).all()
    assert ((refined > 0.5) == inside).all()


def test_shapes_and_ranges_are_checked(square):
    with pytest.raises(ValueError, match=r"expected a uint8 image of shape \(32, 32, 3\), found uint8 \(64, 64, 3\)"):
        refine(np.zeros((32, 32)), square[0])
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        refine(np.full((64, 64), np.nan), square[0])


def test_a_missing_package_is_named(square, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(ImportError, match="pydensecrf2"):
        refine(np.zeros((64, 64)), square[0])
