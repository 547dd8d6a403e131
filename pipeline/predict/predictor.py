"""A loaded model that boxes images, in batches."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.cams.extractor import Extractor
from pipeline.cams.method import MapMethod
from pipeline.cams.views import Views
from pipeline.data.images import AHEAD, decode, read_file, squash
from pipeline.errors import DataError, UserError
from pipeline.evaluation.metrics import probabilities
from pipeline.models.localizer import device
from pipeline.predict.bundle import Model
from pipeline.predict.choice import load_model
from pipeline.predict.drawing import draw_boxes, threshold_steps
from pipeline.predict.fetch import fetch
from pipeline.predict.formats.coco import xywh
from pipeline.predict.pictures import overlay
from pipeline.predict.record import ClassProbability, Prediction
from pipeline.predict.sources import Source

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Options:
    """How boxes are drawn.

    Attributes:
        class_from: the predicted class, or the label that an image was given with.
        threshold: τ; None for the model's own.
        boxes: the largest contour's box, as the accuracies are measured with, or one for each component.
        conf: boxes of a smaller score are left out.
        max_det: the most boxes of an image.
        classes: names of classes that boxes are wanted of; empty for all.
        top: how many classes are named with their probabilities.
        batch_size: images per forward pass.
        allow_private: fetch addresses in private networks.
    """

    class_from: Literal["prediction", "label"] = "prediction"
    threshold: float | None = None
    boxes: Literal["largest", "all"] = "largest"
    conf: float = 0.0
    max_det: int = 100
    classes: tuple[str, ...] = ()
    top: int = 5
    batch_size: int = 32
    allow_private: bool = False


@dataclass(frozen=True)
class Predicted:
    """A prediction with what it was made from; not there where the image could not be read.

    Attributes:
        image: ``(H, W, 3)`` RGB, shrunk where it is kept for pictures only.
        score_map: ``(h, w)`` of the class, not normalised.
    """

    record: Prediction
    image: Image | None = None
    score_map: NDArray[np.float32] | None = None

    @property
    def boxes(self) -> NDArray[np.float64]:
        """``(n, 4)`` xyxy in pixels of the stored image, best first."""
        return np.array([box.xyxy for box in self.record.boxes], np.float64).reshape(-1, 4)

    @property
    def scores(self) -> NDArray[np.float64]:
        """``(n,)``, of the boxes."""
        return np.array([box.score for box in self.record.boxes], np.float64)

    def plot(self) -> Image:
        """``(H, W, 3)`` RGB: the image under its map, with its boxes.

        Raises:
            UserError: there is no image to draw on.
        """
        if self.image is None or self.score_map is None:
            raise UserError(f"{self.record.path} cannot be drawn: {self.record.error or 'its image was not kept'}.")
        return overlay(self.image, self.score_map, self.record)

    def to_coco(self, image_id: int = 1) -> list[dict[str, Any]]:
        """The boxes as COCO results; category ids count from 1, in the order of the model's classes."""
        return [
            {"image_id": image_id, "category_id": self.record.class_index + 1, "score": box.score,
             "bbox": xywh(box.xyxy)}
            for box in self.record.boxes
        ]  # fmt: skip


@dataclass(frozen=True)
class _Read:
    source: Source
    error: str = ""
    size: tuple[int, int] = (0, 0)
    whole: Image = field(default_factory=lambda: np.zeros(0, np.uint8))
    resized: Image | None = None
    large: Mapping[int, Image] = field(default_factory=dict)
    image: Image | None = None


class Predictor:
    """A model that is ready to box images.

    Args:
        model: as :func:`pipeline.predict.choice.load_model` gives it.
        options: how boxes are drawn.
        place: device to work on, such as ``cpu`` or ``cuda:0``; the GPU where there is one if not given.

    Raises:
        UserError: there is no such device, or a class of ``options.classes`` is not the model's.
    """

    def __init__(self, model: Model, options: Options | None = None, place: str = "") -> None:
        self.model, self.facts, self.options = model, model.facts, options or Options()
        if unknown := set(self.options.classes) - set(self.facts.classes):
            raise UserError(
                f"--classes: the model does not know {', '.join(sorted(unknown))}; its classes are "
                f"{', '.join(self.facts.classes[:50])}."
            )
        self.device = _device(place)
        networks = [network.to(self.device) for network in model.networks]
        ae_threshold = self.facts.architecture.get("ae_threshold", 1.0)
        self._extractor = Extractor(networks, ae_threshold, self.facts.extract_cams, self.facts.precision)
        self._method = self._extractor.methods[0]
        if self._method.fitted:
            _load(self._method, model)
        self.threshold = self.facts.threshold if self.options.threshold is None else self.options.threshold

    @classmethod
    def load(cls, model: str = "", options: Options | None = None, device: str = "") -> "Predictor":
        """Load a model by name: see :func:`pipeline.predict.choice.load_model`."""
        return cls(load_model(model), options, device)

    def __call__(self, images: Iterable[str | Path | Image], labels: Sequence[str] | None = None) -> list["Predicted"]:
        """Predict paths, addresses or arrays ``(H, W, 3)`` uint8 RGB; one result each, in their order."""
        listed = list(images)
        given = list(labels) if labels is not None else [""] * len(listed)
        items = [
            (Source(f"array {i}", label), image) if isinstance(image, np.ndarray) else (Source(str(image), label), None)
            for i, (image, label) in enumerate(zip(listed, given, strict=True))
        ]
        return [predicted for group in self._stream(items, keep=None) for predicted in group]

    def stream(self, sources: Sequence[Source], keep: int | None = 0) -> Iterator[list["Predicted"]]:
        """Predict batch by batch, the images decoded ahead by threads; memory does not grow with their number.

        Args:
            keep: longest side that images are shrunk to and kept with; 0 keeps none, None keeps them as they are.
        """
        return self._stream([(source, None) for source in sources], keep)

    def _stream(self, items: Sequence[tuple[Source, Image | None]], keep: int | None) -> Iterator[list["Predicted"]]:
        size = self.options.batch_size
        with ThreadPoolExecutor() as pool:
            pending: deque[list[Future[_Read]]] = deque()
            for start in range(0, len(items), size):
                pending.append([pool.submit(self._read, *item, keep) for item in items[start : start + size]])
                if len(pending) > AHEAD:
                    yield self._batch([future.result() for future in pending.popleft()])
            while pending:
                yield self._batch([future.result() for future in pending.popleft()])

    def _read(self, source: Source, image: Image | None, keep: int | None) -> _Read:
        try:
            if self.options.class_from == "label" and source.label not in self.facts.classes:
                raise DataError(f"--class label: {source.label!r} is not a class of the model")
            if image is None:
                image = _rgb(fetch(source.place, self.options.allow_private) if source.is_address
                             else read_file(Path(source.place)), self.facts.upright)  # fmt: skip
            elif image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
                raise DataError(f"an image is (H, W, 3) uint8 RGB, not {image.shape} {image.dtype}")
        except DataError as error:
            return _Read(source, str(error))
        height, width = image.shape[:2]
        resized = squash(image, self.facts.resize) if self.facts.extract_cams.ten_crop else None
        kept = None if keep == 0 else image if keep is None else shrink(image, keep)
        large = {side: squash(image, side) for side in self._method.sides}
        return _Read(source, "", (width, height), squash(image, self.facts.crop), resized, large, kept)

    @torch.no_grad()
    def _batch(self, batch: Sequence[_Read]) -> list["Predicted"]:
        read = [one for one in batch if not one.error]
        outputs = iter(self._forward(read) if read else ())
        return [
            Predicted(Prediction(path=one.source.place, label=one.source.label, model=self.model.version,
                                 error=one.error))
            if one.error else self._predicted(one, *next(outputs))
            for one in batch
        ]  # fmt: skip

    def _forward(self, read: Sequence[_Read]) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
        index = {name: i for i, name in enumerate(self.facts.classes)}
        labels = torch.tensor([index.get(one.source.label, 0) for one in read], device=self.device)
        whole = torch.from_numpy(np.stack([one.whole for one in read])).to(self.device)
        resized = [one.resized for one in read if one.resized is not None]
        crops = torch.from_numpy(np.stack(resized)).to(self.device) if resized else None
        large = {
            side: torch.from_numpy(np.stack([one.large[side] for one in read])).to(self.device)
            for side in self._method.sides
        }
        classes, maps, logits = (part.cpu().numpy() for part in self._extractor(labels, Views(whole, crops, large)))
        which = 1 if self.options.class_from == "prediction" else 0
        return zip(classes[:, which].tolist(), maps[:, which], logits, strict=True)

    def _predicted(
        self, one: _Read, label: int, score_map: NDArray[np.float32], logits: NDArray[np.float32]
    ) -> "Predicted":
        names, options, each = self.facts.classes, self.options, probabilities(logits)
        percentile = self.facts.standard_percentile
        wanted = not options.classes or names[label] in options.classes
        boxes = draw_boxes(
            score_map, self.threshold, percentile, one.size, float(each[label]), every=options.boxes == "all"
        )
        kept = [box for box in boxes if wanted and box.score >= options.conf][: options.max_det]
        record = Prediction(
            path=one.source.place, width=one.size[0], height=one.size[1], class_name=names[label], class_index=label,
            probability=float(each[label]), boxes=kept, threshold=self.threshold, label=one.source.label,
            top=[ClassProbability(name=names[i], probability=float(each[i])) for i in np.argsort(-each)[: options.top]],
            steps=threshold_steps(score_map, percentile, one.size), model=self.model.version,
        )  # fmt: skip
        return Predicted(record, one.image, score_map)


def _load(method: MapMethod, model: Model) -> None:
    try:
        method.load(model.fitted)
    except ValueError as error:
        raise UserError(
            f"the model lacks what its map method has learnt: {error}. Make it again with `python -m pipeline repro`."
        ) from None


def _device(name: str) -> torch.device:
    if not name:
        return device()
    try:
        place = torch.device(name if not name.isdigit() else f"cuda:{name}")
        torch.zeros(1, device=place)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"--device {name}: {str(error).splitlines()[0]}. Without it, the CPU or GPU there is."
        ) from None
    return place


def _rgb(data: bytes, upright: bool) -> Image:
    return np.asarray(cv2.cvtColor(decode(data, upright=upright), cv2.COLOR_BGR2RGB), np.uint8)


def shrink(image: Image, side: int) -> Image:
    """An image with its longest side at most ``side`` pixels."""
    scale = side / max(image.shape[:2])
    if scale >= 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
