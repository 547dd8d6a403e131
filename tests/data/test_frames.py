"""Orientation tags, and boxes that refer to an image before or after it was turned."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.data.frames import View, alike
from pipeline.data.orientation import orientation, turn
from pipeline.errors import DataError

WIDTH, HEIGHT = 6, 4
BOX = (1.0, 0.0, 4.0, 3.0)


def tagged(tag):
    pixels = np.arange(WIDTH * HEIGHT * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3)
    exif = Image.Exif()
    exif[0x0112] = tag
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    return pixels, buffer.getvalue()


@pytest.mark.parametrize("tag", range(1, 9))
def test_pixels_are_turned_as_pillow_does(tag):
    pixels, data = tagged(tag)
    assert orientation(data) == tag
    assert np.array_equal(turn(pixels, tag), np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))


@pytest.mark.parametrize("tag", [0, 9, 77])
def test_a_tag_that_means_nothing_turns_nothing(tag):
    assert orientation(tagged(tag)[1]) == 1


def drawn(box, width, height):
    mask = np.zeros((height, width), bool)
    x0, y0, x1, y1 = map(round, box)
    mask[y0:y1, x0:x1] = True
    return mask


@pytest.mark.parametrize("tag", [5, 6, 7, 8])
def test_a_box_in_stored_pixels_is_turned_with_them(tag):
    view = View(WIDTH, HEIGHT, tag)
    found = view.from_frame(BOX, (WIDTH, HEIGHT))
    assert view.size == (HEIGHT, WIDTH)
    assert np.array_equal(drawn(found, *view.size), turn(drawn(BOX, WIDTH, HEIGHT), tag))


@pytest.mark.parametrize("tag", range(1, 9))
def test_shares_refer_to_the_image_as_it_is_shown(tag):
    view = View(WIDTH, HEIGHT, tag)
    assert view.from_frame((0.5, 0.0, 1.0, 0.25), (1, 1)) == (view.size[0] / 2, 0, view.size[0], view.size[1] / 4)


@pytest.mark.parametrize("tag", [5, 6, 7, 8])
def test_a_box_of_the_turned_image_stays(tag):
    assert View(WIDTH, HEIGHT, tag).from_frame((0, 0, 4, 6), (HEIGHT, WIDTH)) == (0, 0, 4, 6)


def test_a_scaled_image_scales_its_boxes():
    assert View(60, 40).from_frame((30, 20, 60, 40), (120, 80)) == (15, 10, 30, 20)
    assert View(60, 40, 6).from_frame((0, 0, 80, 60), (80, 120)) == (0, 0, 40, 30)


@pytest.mark.parametrize(("tag", "frame"), [(2, None), (6, None), (3, (WIDTH, HEIGHT)), (6, (50, 50))])
def test_what_cannot_be_told_is_refused(tag, frame):
    with pytest.raises(DataError, match=rf"orientation tag is {tag}, and it cannot be told"):
        View(WIDTH, HEIGHT, tag).from_frame(BOX, frame)


def test_a_square_image_that_is_turned_is_refused_too():
    with pytest.raises(DataError, match="it cannot be told"):
        View(5, 5, 6).from_frame(BOX, (5, 5))


def test_boxes_of_an_image_of_another_shape_are_refused():
    with pytest.raises(DataError, match="refer to an image of 6×9 pixels, and it has 6×4"):
        View(WIDTH, HEIGHT).from_frame(BOX, (6, 9))


def test_rounded_sides_are_the_same_shape():
    assert alike((500, 333), (1000, 667))
    assert not alike((500, 333), (333, 500))
