"""The tables of the sweep against counts made from whole images."""

import cv2
import numpy as np
import pytest

from pipeline.evaluation.neighbourhood import NEIGHBOURS, by_level, cell_table, group_table, neighbour_masks


def ring(mask: int, centre: int) -> np.ndarray:
    """A 5×5 image with the neighbours of a mask around its middle."""
    image = np.zeros((5, 5), np.uint8)
    for bit, (dx, dy) in enumerate(NEIGHBOURS):
        image[2 + dy, 2 + dx] = mask >> bit & 1
    image[2, 2] = centre
    return image


def components(image: np.ndarray, connectivity: int) -> int:
    return cv2.connectedComponents(image, connectivity=connectivity)[0] - 1


@pytest.mark.parametrize("mask", range(256))
def test_euler_number_is_components_less_holes(mask):
    euler = [components(ring(mask, c), 8) - (components(1 - ring(mask, c), 4) - 1) for c in (0, 1)]
    assert cell_table()[mask, 1] == 4 * (euler[1] - euler[0])


@pytest.mark.parametrize("mask", range(256))
@pytest.mark.parametrize("connectivity", [4, 8])
def test_joining_one_neighbour_of_each_group_joins_all_that_the_centre_does(mask, connectivity):
    steps = [tuple(step) for step in group_table(connectivity)[mask].tolist() if step != [0, 0]]
    _, before = cv2.connectedComponents(ring(mask, 0), connectivity=connectivity)
    _, after = cv2.connectedComponents(ring(mask, 1), connectivity=connectivity)
    joined = set(before[after == after[2, 2]].tolist()) - {0}
    assert sorted(before[2 + dy, 2 + dx] for dx, dy in steps) == sorted(joined)


@pytest.mark.parametrize(
    ("mask", "doubled_area"),
    [(0b00000000, 0), (0b00000001, 0), (0b00000101, 1), (0b00000111, 1), (0b01010101, 4), (0b11111111, 4)],
)
def test_area_gained_on_the_four_cells(mask, doubled_area):
    assert cell_table()[mask, 0] == doubled_area


def test_pixels_are_ordered_by_falling_value_then_by_row():
    starts, order = by_level(np.array([[3, 0, 7], [7, 3, 1]], np.uint8))
    assert [(int(p & 0xFFFF), int(p >> 16)) for p in order] == [(2, 0), (0, 1), (0, 0), (1, 1), (2, 1)]
    assert [starts[value] for value in (7, 6, 3, 2, 1, 0)] == [0, 2, 2, 4, 4, 5]


def test_of_equal_neighbours_those_earlier_in_raster_order_are_there_already():
    assert neighbour_masks(np.full((3, 3), 5, np.uint8))[2, 2] == 0b00011110
    assert neighbour_masks(np.array([[1, 2, 1]], np.uint8))[1, 1:4].tolist() == [0b1, 0, 0b10000]
