"""Which images have pictures, and where their boxes lie at every threshold."""

import numpy as np
import pandas as pd
import pytest

from pipeline.report import gallery
from pipeline.report.breakdown import Bar, Breakdown
from pipeline.report.gallery import boxes_by_stop, chosen, coloured, picture, sample, stops


def facts(count):
    return pd.DataFrame({"image_id": [f"i{n:04d}" for n in range(count)], "iou": np.linspace(0, 1, count)})


def group(codes):
    bars = [Bar(str(code), code, int((codes == code).sum()), 0.0, None) for code in range(codes.max() + 1)]
    return {"g": Breakdown("g", "g", codes, bars)}


def test_few_images_all_have_pictures():
    assert sample(facts(5), group(np.zeros(5, np.int64)), "iou") == [0, 1, 2, 3, 4]


def test_of_many_the_extremes_and_some_of_every_group_are_chosen(monkeypatch):
    monkeypatch.setattr(gallery, "MOST", 80)
    codes = np.zeros(1000, np.int64)
    codes[500:503] = 1
    chosen_rows = sample(facts(1000), group(codes), "iou")
    assert len(chosen_rows) == len(set(chosen_rows)) == 80
    assert {*range(30), *range(970, 1000), 500, 501, 502} <= set(chosen_rows)
    assert chosen_rows == sample(facts(1000), group(codes), "iou")


def test_only_the_images_asked_for_are_kept():
    maps = np.arange(2 * 2 * 3 * 3, dtype=np.float32).reshape(2, 2, 3, 3)
    shards = [{"image_ids": np.array(["a", "b"]), "maps": maps}, {"image_ids": np.array(["c"]), "maps": maps[:1]}]
    found = list(chosen(shards, ("maps",), {"b", "c"}))
    assert [image_id for image_id, _ in found] == ["b", "c"]
    assert found[0][1]["maps"].tolist() == maps[1].tolist()
    assert found[0][1]["maps"].base is None  # no view that keeps its shard alive


def test_the_threshold_in_use_is_a_stop_of_the_slider_between_those_tried():
    found = stops(np.arange(0, 1, 0.001), 0.31415)
    assert len(found) == 101
    assert 0.31415 in found
    assert set(found) - {0.31415} <= set(np.arange(0, 1, 0.001))


def test_a_box_is_written_where_it_changes():
    levels = np.zeros((256, 4), np.int16)
    levels[:100] = (1, 2, 30, 40)
    levels[100:200] = (5, 6, 20, 30)
    found = boxes_by_stop(levels, 200.0, np.array([0.0, 0.25, 0.5, 0.75, 0.999]))
    assert found == [[0, 1, 2, 30, 40], [2, 5, 6, 20, 30]]


@pytest.mark.parametrize(
    ("shape", "shown"),
    [((480, 640), (240, 180)), ((1000, 500), (120, 240)), ((48, 64), (64, 48)), ((2, 900), (240, 1))],
)
def test_pictures_keep_the_shape_of_the_image_and_never_grow(shape, shown):
    found = picture(np.full((*shape, 3), 90, np.uint8))
    assert (found["width"], found["height"]) == shown
    assert found["picture"].startswith("data:image/webp;base64,")


def test_a_constant_map_is_shown_dark():
    assert coloured(np.ones((4, 4), np.float32)) == coloured(np.full((4, 4), np.nan, np.float32))
    assert coloured(np.ones((4, 4), np.float32)) != coloured(np.eye(4, dtype=np.float32))
