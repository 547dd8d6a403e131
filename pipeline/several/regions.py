"""What ``localize`` makes of the maps of several classes: a box and a region for each predicted one."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.data.manifest import Dataset, ImageRow
from pipeline.data.mask_files import read_classes
from pipeline.evaluation.class_predictions import class_probabilities, predicted_classes
from pipeline.evaluation.geometry import threshold_level, to_image
from pipeline.evaluation.label_masks import ThresholdedConfusion, label_mask, strongest
from pipeline.evaluation.score_maps import FRAME
from pipeline.files import write_bytes
from pipeline.several.maps import ClassMaps
from pipeline.several.masks import class_scores, mask_file


def best_mask_threshold(
    dataset: Dataset, images: Mapping[str, ImageRow], maps: Iterable[ClassMaps]
) -> float | None:  # fmt: skip
    """The threshold with the best mean IoU of masks of the true classes; None where no image has a mask."""
    confusion, masked = ThresholdedConfusion(len(dataset.classes)), 0
    for found in maps:
        image = images[found.image_id]
        truth = read_classes(dataset.root, image.masks, dataset.mask_values)
        own = found.only(image.shows(len(dataset.classes)))
        if truth is not None and len(own.classes):
            scores = class_scores(own.grey(), own.standards, truth.shape[1], truth.shape[0])
            confusion.add(*strongest(scores, own.classes), truth)
            masked += 1
    return confusion.best_threshold() if masked else None


def class_predictions(dataset: Dataset, image: ImageRow, found: ClassMaps, tau: float) -> Iterator[dict[str, Any]]:
    """A row for each predicted class, the likeliest first: its probability, and its map's box in original pixels."""
    predicted = found.only(predicted_classes(found.logits[None])[0])
    for m in predicted.logits[predicted.classes].argsort(kind="stable")[::-1]:
        label = int(predicted.classes[m])
        box = predicted.boxes[m, threshold_level(tau, predicted.standards[m])]
        yield {
            "image_id": found.image_id,
            "predicted": dataset.classes[label],
            "score": float(class_probabilities(found.logits)[label]),
            "box": to_image(box[None], image.width, image.height, FRAME)[0].tolist(),
        }


def write_mask(folder: Path, dataset: Dataset, image: ImageRow, found: ClassMaps, tau: float) -> None:
    """``IMAGE.png``, of the image's size, with the predicted class of each pixel."""
    predicted = found.only(predicted_classes(found.logits[None])[0])
    scores = class_scores(predicted.grey(), predicted.standards, image.width, image.height)
    path = folder / f"{found.image_id}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, mask_file(label_mask(scores, predicted.classes, tau), dataset.mask_values))
