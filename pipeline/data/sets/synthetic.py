"""The embedded data set: a probe for the failure that weakly supervised localization is known for.

Every image shows one object: a large textured body with a small part on it. The part alone always tells the class;
the body's texture tells it only weakly (it is that of another class now and then), and so does the background's
colour. A classifier therefore needs no more than the part, and a map that follows its evidence covers the part rather
than the body, as reported for real images (Zhou et al., CVPR 2016; Choe et al., CVPR 2020). Boxes and masks are those
of the body, part masks those of the part; objects lie anywhere, in many sizes, so that guessing the centre fails.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.data.masks import Masks
from pipeline.data.source import Sample, Source
from pipeline.files import LABELLED, write_bytes
from pipeline.params import PrepareParams

#: Share of the images whose body (background) carries the texture (colour) of their own class; otherwise any class's.
BODY_EVIDENCE = 0.8
BACKGROUND_EVIDENCE = 0.4
#: Side of the body's frame as a share of the image's side, and the part's diameter as a share of the body's shorter
#: side.
BODY_SIDES = (0.4, 0.62)
PART_SIDE = 0.3
#: Streams of random numbers, so that no two splits have an image in common.
STREAMS = {"train": 0, "test": 1, "gate": 2}

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Scene:
    """One drawn image: ``(S, S, 3)`` RGB, with ``(S, S)`` masks of the object and of its part, inside the object."""

    image: Image
    body: Mask
    part: Mask


def check_layout(_root: Path) -> None:
    """There is nothing to look at: ``prepare`` draws everything."""


def read_source(settings: PrepareParams, folder: Path) -> Source:
    """Draw all images and masks into ``folder``; the same settings give the same files.

    The images of one split do not depend on how many another has. As they cost nothing, those of gate are drawn
    besides, so that a gate takes none from training.
    """
    s, seed = settings.synthetic, settings.seed
    gate = round(settings.gate_fraction * s.train_per_class)
    classes, size = s.classes, s.image_size
    for kind in ("images", "masks", "parts"):
        (folder / kind).mkdir()
    samples = []
    for split, images in (("train", s.train_per_class), ("test", s.test_per_class), ("gate", gate)):
        for number in range(classes * images):
            label = number % classes
            rng = np.random.default_rng([seed, STREAMS[split], number])
            scene = draw_scene(rng, label, classes, size)
            samples.append(_write(folder, f"{split}_{number:05d}", split, label, scene))
    return Source(LABELLED, tuple(f"class_{label:02d}" for label in range(classes)), samples)


def _write(folder: Path, name: str, split: str, label: int, scene: Scene) -> Sample:
    arrays = {
        "images": scene.image[..., ::-1],
        "masks": scene.body * np.uint8(255),
        "parts": scene.part * np.uint8(255),
    }
    for kind, array in arrays.items():
        write_bytes(folder / kind / f"{name}.png", cv2.imencode(".png", array)[1].tobytes())
    paths = {kind: f"{kind}/{name}.png" for kind in arrays}
    masks = Masks((paths["masks"],), part=paths["parts"])
    return Sample(name, paths["images"], split, (label,), (tight_box(scene.body),), masks)


def tight_box(mask: Mask) -> tuple[float, float, float, float]:
    """``xyxy`` of the last pixels that belong to a mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1]), float(rows[-1])


def draw_scene(rng: np.random.Generator, label: int, classes: int, size: int) -> Scene:
    """Draw one image of class ``label``."""
    image = _background(rng, _evidence(rng, label, classes, BACKGROUND_EVIDENCE), classes, size)
    body, part = _shapes(rng, size)
    texture = _stripes(rng, _evidence(rng, label, classes, BODY_EVIDENCE), classes, size)
    colour = rng.uniform(90, 190, 3)
    image[body] = (colour + 42 * texture[..., None])[body]
    image[part] = _part_pattern(rng, label, classes, part)[part]
    image += rng.normal(0, 7, image.shape)
    return Scene(np.clip(image, 0, 255).astype(np.uint8), body, part)


def _evidence(rng: np.random.Generator, label: int, classes: int, share: float) -> int:
    """The image's own label in ``share`` of the cases, otherwise any class."""
    return label if rng.random() < share else int(rng.integers(classes))


def _hue(label: int, classes: int) -> NDArray[np.float64]:
    """A saturated RGB colour, evenly spaced over the colour circle."""
    pixel = np.array([[[round(180 * label / classes), 230, 230]]], np.uint8)
    return np.asarray(cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0], dtype=np.float64)


def _background(rng: np.random.Generator, label: int, classes: int, size: int) -> NDArray[np.float64]:
    """Smooth noise with a tint, and clutter: stripes, blobs and edges of no meaning."""
    noise = cv2.resize(rng.uniform(40, 210, (6, 6, 3)), (size, size), interpolation=cv2.INTER_CUBIC)
    image = np.ascontiguousarray(0.75 * noise + 0.25 * _hue(label, classes))
    for _ in range(rng.integers(4, 9)):
        centre = tuple(int(v) for v in rng.integers(0, size, 2))
        axes = tuple(int(v) for v in rng.uniform(0.03, 0.14, 2) * size + 1)
        cv2.ellipse(image, centre, axes, float(rng.uniform(0, 180)), 0, 360, rng.uniform(30, 220, 3).tolist(), -1)
    for _ in range(rng.integers(2, 6)):
        start, end = (tuple(int(v) for v in rng.integers(0, size, 2)) for _ in range(2))
        cv2.line(image, start, end, rng.uniform(30, 220, 3).tolist(), int(rng.integers(1, 3)))
    return image


def _shapes(rng: np.random.Generator, size: int) -> tuple[Mask, Mask]:
    """Body (an ellipse with a wavy outline) and part (a disc somewhere on it), as masks."""
    sides = rng.uniform(*BODY_SIDES, 2) * size
    centre = np.array([rng.uniform(side / 2, size - side / 2) for side in sides])
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    wave = 1 - 0.1 * (1 + np.sin(rng.integers(2, 6) * angle + rng.uniform(0, 2 * np.pi)))
    outline = centre + 0.5 * sides * wave[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    body = np.zeros((size, size), np.uint8)
    cv2.fillPoly(body, [np.rint(outline).astype(np.int32)], 1)
    direction = rng.uniform(0, 2 * np.pi)
    seat = centre + rng.uniform(0.05, 0.2) * sides * np.array([np.cos(direction), np.sin(direction)])
    part = np.zeros((size, size), np.uint8)
    cv2.circle(part, tuple(int(v) for v in np.rint(seat)), max(3, round(PART_SIDE / 2 * float(sides.min()))), 1, -1)
    return body.astype(bool), (part & body).astype(bool)


def _stripes(rng: np.random.Generator, label: int, classes: int, size: int) -> NDArray[np.float64]:
    """The body's texture: stripes in [−1, 1] whose direction belongs to a class, roughly."""
    direction = np.pi * (label / classes) + rng.normal(0, 0.12)
    y, x = np.mgrid[:size, :size]
    wavelength = size / rng.uniform(11, 15)
    return np.asarray(np.sin(2 * np.pi / wavelength * (x * np.cos(direction) + y * np.sin(direction))))


def _part_pattern(rng: np.random.Generator, label: int, classes: int, part: Mask) -> NDArray[np.float64]:
    """The part's colours: a disc in the class's hue around a core in its opposite."""
    y, x = np.nonzero(part)
    rows, columns = np.mgrid[: part.shape[0], : part.shape[1]]
    radius = np.hypot(rows - y.mean(), columns - x.mean()) / np.sqrt(part.sum() / np.pi)
    core = (radius < 0.5)[..., None]
    brightness = rng.uniform(0.8, 1.0)
    return np.asarray(brightness * np.where(core, _hue(label, classes)[::-1] * 0.4, _hue(label, classes)))
