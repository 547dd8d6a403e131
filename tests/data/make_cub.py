"""A tiny data set in the official CUB layout."""

from pathlib import Path

import cv2
import numpy as np

CLASSES = ("001.Black_footed_Albatross", "004.Groove_billed_Ani")


def write_cub(root: Path, per_class: int = 6, size: tuple[int, int] = (60, 40)) -> Path:
    """``per_class`` images for each of two classes, the last two of each for test; one bright square in each."""
    rng = np.random.default_rng(0)
    lines = {name: [] for name in ("images", "image_class_labels", "train_test_split", "bounding_boxes")}
    number = 0
    for name in CLASSES:
        (root / "images" / name).mkdir(parents=True)
        for i in range(per_class):
            number += 1
            image = rng.integers(0, 90, (size[1], size[0], 3), dtype=np.uint8)
            x, y = int(rng.integers(2, 30)), int(rng.integers(2, 15))
            image[y : y + 20, x : x + 25] = (250, 40, 40) if name == CLASSES[0] else (40, 40, 250)
            cv2.imwrite(str(root / "images" / name / f"{name}_{i}.jpg"), image)
            lines["images"].append(f"{number} {name}/{name}_{i}.jpg")
            lines["image_class_labels"].append(f"{number} {name[:3].lstrip('0')}")
            lines["train_test_split"].append(f"{number} {int(i < per_class - 2)}")
            lines["bounding_boxes"].append(f"{number} {x}.0 {y}.0 25.0 20.0")
    for name, text in lines.items():
        (root / f"{name}.txt").write_text("\n".join(text) + "\n")
    (root / "classes.txt").write_text("".join(f"{name[:3].lstrip('0')} {name}\n" for name in CLASSES))
    return root
