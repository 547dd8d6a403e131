"""Score maps of many kinds, as grey images of any shape."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def _grey(values: NDArray[np.floating]) -> Image:
    values = values - values.min()
    return (values / max(values.max(), 1e-12) * 255).astype(np.uint8)


def _grid(h: int, w: int, r: Generator) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Distances from a random centre, along y and x, in shares of the sides."""
    y, x = np.mgrid[:h, :w]
    return (y - r.uniform(0, h)) / h, (x - r.uniform(0, w)) / w


def smooth(h: int, w: int, r: Generator) -> Image:
    bumps = [np.exp(-np.square(_grid(h, w, r)).sum(axis=0) / r.uniform(0.01, 0.1)) for _ in range(r.integers(1, 5))]
    return _grey(sum(bumps, np.zeros((h, w))))


def upsampled(h: int, w: int, r: Generator) -> Image:
    side = int(r.integers(2, 15))
    return _grey(cv2.resize(r.random((side, side)), (w, h), interpolation=cv2.INTER_CUBIC))


def blocky(h: int, w: int, r: Generator) -> Image:
    side = int(r.integers(2, 9))
    return _grey(cv2.resize(r.random((side, side)), (w, h), interpolation=cv2.INTER_NEAREST))


def noise(h: int, w: int, r: Generator) -> Image:
    return r.integers(0, 256, (h, w), dtype=np.uint8)


def few_levels(h: int, w: int, r: Generator) -> Image:
    return r.choice(np.array([0, 1, 128, 254, 255], np.uint8), (h, w))


def sparse(h: int, w: int, r: Generator) -> Image:
    return np.where(r.random((h, w)) < 0.08, r.integers(1, 4, (h, w)), 0).astype(np.uint8)


def rings(h: int, w: int, r: Generator) -> Image:
    """Several rings with noise: components with holes compete for the largest area."""
    image = np.zeros((h, w))
    for _ in range(4):
        distance = np.sqrt(np.square(_grid(h, w, r)).sum(axis=0))
        image = np.maximum(image, r.uniform(0.3, 1) * np.exp(-np.square((distance - r.uniform(0.05, 0.4)) * 20)))
    return _grey(image + r.uniform(0, 0.1) * r.random((h, w)))


def nested_rings(h: int, w: int, r: Generator) -> Image:
    distance = np.sqrt(np.square(_grid(h, w, r)).sum(axis=0))
    return _grey(np.cos(distance * r.uniform(10, 60)) + 0.3 * distance + 0.1 * r.random((h, w)))


def diamonds(h: int, w: int, r: Generator) -> Image:
    """One-pixel lines, whose hole and outer contours enclose the same area, with spikes on them."""
    image = np.zeros((h, w), np.uint8)
    for _ in range(6):
        x, y, size = int(r.integers(0, w)), int(r.integers(0, h)), int(r.integers(1, 6))
        corners = np.array([[x - size, y], [x, y - size], [x + size, y], [x, y + size]])
        value = int(r.integers(1, 256))
        cv2.polylines(image, [corners], True, value)
        cv2.line(image, (x, y - size), (x, y - size - int(r.integers(0, 4))), value)
    return image


def single_pixel(h: int, w: int, r: Generator) -> Image:
    image = np.zeros((h, w), np.uint8)
    image[r.integers(0, h), r.integers(0, w)] = r.integers(1, 256)
    return image


def constant(h: int, w: int, r: Generator) -> Image:
    return np.full((h, w), r.choice([0, 1, 77, 255]), np.uint8)


KINDS = (smooth, upsampled, blocky, noise, few_levels, sparse, rings, nested_rings, diamonds, single_pixel, constant)
