"""The refinement of maps: where it stands between maps and boxes, whatever it does to them."""

import json

import numpy as np
import pytest

from pipeline.data import refined
from pipeline.errors import UserError
from pipeline.evaluation.boxes import grey_map, largest_boxes
from pipeline.evaluation.score_maps import normalize_map, resize_map
from pipeline.execution.preflight import check_inputs
from pipeline.files import read_shards
from pipeline.params import load_params
from pipeline.stages import evaluate, localize
from tests.sample_result import write_params, write_run


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run up to its maps, which are to be refined."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WSOL_STATE", str(tmp_path / "state"))
    write_params(tmp_path, localize__refine="crf")
    write_run(tmp_path)
    return tmp_path


def inverted(score_map, image):
    """In place of the CRF: the map turned round."""
    assert image.shape == (*score_map.shape, 3)
    assert image.dtype == np.uint8
    return 1 - score_map


def test_boxes_and_scores_are_of_the_refined_maps(run, monkeypatch):
    monkeypatch.setattr(refined, "refine", inverted)
    localize.run(load_params())
    for cams, boxes in zip(read_shards(run / "cams/test"), read_shards(run / "boxes/test"), strict=True):
        expected = (1 - normalize_map(resize_map(cams["maps"][0, 0], 224))).astype(np.float16)
        assert (boxes["maps"][0, 0] == expected).all()
        assert (boxes["boxes"][0] == largest_boxes(grey_map(expected))).all()
        same = cams["classes"][:, 0] == cams["classes"][:, 1]
        assert (boxes["maps"][same, 0] == boxes["maps"][same, 1]).all()
        other = np.flatnonzero(~same)[0]
        assert (boxes["maps"][other, 0] != boxes["maps"][other, 1]).any()
    evaluate.run(load_params())
    turned = json.loads((run / "metrics/metrics.json").read_text())["test"]["pxap"]
    write_params(run)
    localize.run(load_params())
    evaluate.run(load_params())
    assert json.loads((run / "metrics/metrics.json").read_text())["test"]["pxap"] > turned + 10
    assert "maps" not in next(read_shards(run / "boxes/test"))


def test_without_the_package_nothing_starts(run, monkeypatch):
    monkeypatch.setattr("pipeline.execution.preflight.is_installed", lambda: False)
    (run / "data/synthetic").mkdir()
    with pytest.raises(UserError, match=r"localize.refine: the dense CRF needs the package pydensecrf2"):
        check_inputs(load_params())


def test_a_stage_that_starts_without_it_says_so_and_leaves_the_old_boxes(run, monkeypatch):
    def missing(score_map, image):
        raise ImportError("the package is not there")

    monkeypatch.setattr(refined, "refine", missing)
    with pytest.raises(UserError, match=r"localize.refine: the package is not there"):
        localize.run(load_params())
    assert not (run / "boxes").exists()
