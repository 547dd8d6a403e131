"""Which images the gallery shows, and where it draws their boxes."""

import numpy as np
import pandas as pd
import pytest

from pipeline.report.gallery import choose, chosen_maps, corner_and_size, pictures


def table(values):
    return pd.DataFrame({"image_id": [f"i{n:02d}" for n in range(len(values))], "iou": values})


def test_best_median_and_worst_of_many():
    groups = choose(table([n / 20 for n in range(20)]), "iou")
    assert groups == {
        "best": ["i19", "i18", "i17", "i16"],
        "median": ["i11", "i10", "i09", "i08"],
        "worst": ["i00", "i01", "i02", "i03"],
    }


def test_equal_values_come_in_the_order_of_their_ids():
    assert choose(table([0.5] * 12), "iou")["best"] == ["i00", "i01", "i02", "i03"]


@pytest.mark.parametrize("count", range(1, 14))
def test_no_image_is_shown_twice(count):
    shown = [image_id for group in choose(table([0.1] * count), "iou").values() for image_id in group]
    assert len(shown) == len(set(shown)) == min(count, 12)


def test_only_the_maps_asked_for_are_kept():
    maps = np.arange(2 * 2 * 3 * 3, dtype=np.float32).reshape(2, 2, 3, 3)
    shards = iter([{"image_ids": np.array(["a", "b"]), "maps": maps}, {"image_ids": np.array(["c"]), "maps": maps[:1]}])
    kept = chosen_maps(shards, {"b", "c"})
    assert list(kept) == ["b", "c"]
    assert kept["b"].tolist() == maps[1, 0].tolist()
    assert kept["b"].base is None  # no view that keeps its shard alive


def test_boxes_are_scaled_to_the_picture():
    boxes = np.array([[10.0, 20.0, 30.0, 60.0], [0, 0, 0, 0]])
    assert corner_and_size(boxes, (100, 200), (50, 50)) == [(5, 5, 10, 10), (0, 0, 0, 0)]


@pytest.mark.parametrize(("shape", "shown"), [((48, 64), (240, 180)), ((1000, 500), (120, 240)), ((2, 900), (240, 1))])
def test_pictures_keep_the_shape_of_the_image(shape, shown):
    image = np.full((*shape, 3), 90, np.uint8)
    result = pictures(image, np.eye(4, dtype=np.float32))
    assert (result["width"], result["height"]) == shown
    assert all(result[name].startswith("data:image/jpeg;base64,") for name in ("picture", "map", "overlay"))


def test_a_constant_map_is_shown_dark():
    result = pictures(np.zeros((8, 8, 3), np.uint8), np.ones((4, 4), np.float32))
    assert result["map"] == pictures(np.zeros((8, 8, 3), np.uint8), np.full((4, 4), np.nan, np.float32))["map"]
