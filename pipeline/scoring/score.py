"""Scores a folder of maps against ground truth, in several processes, one batch of maps in memory per process."""

import json
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_all_start_methods, get_context, parent_process
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline import console
from pipeline.data.names import similar
from pipeline.data.text_lists import NAMED, BoxTruth, MaskTruth, some
from pipeline.errors import DataError, UserError, WsolError
from pipeline.evaluation.boxes import best_iou_per_level, largest_boxes, quantize
from pipeline.evaluation.geometry import iou, standard_value
from pipeline.evaluation.metrics import PixelAveragePrecision, ThresholdCurve
from pipeline.scoring.map_files import Batch, find_maps, protocol_map
from pipeline.scoring.truth import Truth, protocol_boxes, protocol_masks, read_truth

#: Bytes; see :func:`_score_batches`.
_ALLOCATOR_KEEPS = 16 * 1024 * 1024


@dataclass(frozen=True)
class Protocol:
    """How maps are scored: the options of the field's reference script.

    Attributes:
        metric: MaxBoxAcc against boxes, or PxAP against masks.
        contours: of boxes: the largest contour alone, or every contour, those of holes included.
        interval: spacing of the thresholds.
        iou: the IoU criteria δ.
        size: side of the square frame that maps and truth are compared in.
    """

    metric: Literal["boxes", "masks"] = "boxes"
    contours: Literal["single", "multi"] = "multi"
    interval: float = 0.001
    iou: tuple[float, ...] = (0.3, 0.5, 0.7)
    size: int = 224

    def __post_init__(self) -> None:
        if not 1e-6 <= self.interval <= 0.5:
            raise UserError(f"--interval must lie in 0.000001 … 0.5, found {self.interval:g}")
        if not self.iou or not all(0 < delta <= 1 for delta in self.iou) or len(set(self.iou)) < len(self.iou):
            found = " ".join(f"{delta:g}" for delta in self.iou)
            raise UserError(f"--iou takes different criteria in (0, 1], such as 0.3 0.5 0.7; found {found}")
        if not 1 <= self.size <= 8192:
            raise UserError(f"--size must lie in 1 … 8192 pixels, found {self.size}")


@dataclass
class Tally:
    """What has been counted so far; tallies of parts add up to that of the whole."""

    protocol: Protocol
    images: int = 0
    damaged: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.curve = ThresholdCurve(self.protocol.interval, self.protocol.iou)
        self.pixels = PixelAveragePrecision(self.protocol.interval)

    def add_boxes(self, score_map: NDArray[np.float64], truth: NDArray[np.int64]) -> None:
        """Count one map against its image's ``(m, 4)`` boxes in the protocol's frame."""
        image = quantize(score_map)
        single = self.protocol.contours == "single"
        best = iou(largest_boxes(image), truth).max(axis=1) if single else best_iou_per_level(image, truth)
        self.curve.add(best, standard_value(image))
        self.images += 1

    def add_masks(
        self, score_map: NDArray[np.float64], foreground: NDArray[np.bool_], ignored: NDArray[np.bool_]
    ) -> None:
        """Count one map against its image's masks, all ``(size, size)``."""
        self.pixels.add(score_map, foreground, ignored)
        self.images += 1

    def merge(self, other: "Tally") -> None:
        """Add the tally of other images."""
        self.images += other.images
        self.damaged += other.damaged
        self.curve.merge(other.curve)
        self.pixels.merge(other.pixels)

    def result(self) -> dict[str, Any]:
        """Accuracies in percent under the names of the ``score`` command; null where they do not apply.

        Raises:
            DataError: no pixel of the whole set is foreground.
        """
        result: dict[str, Any] = {"images": self.images, "interval": self.protocol.interval, "contours": None}
        result |= dict.fromkeys(("max_box_acc", "max_box_acc_v2", "best_threshold", "pxap"))
        if self.protocol.metric == "masks":
            try:
                return result | {"pxap": self.pixels.value()}
            except ValueError as error:
                raise DataError(f"PxAP is not defined: {error}") from None
        names = [str(delta) for delta in self.protocol.iou]
        best = self.curve.max_box_acc()
        return result | {
            "contours": self.protocol.contours,
            "max_box_acc": dict(zip(names, best.tolist(), strict=True)),
            "max_box_acc_v2": float(best.mean()),
            "best_threshold": dict(zip(names, self.curve.best_thresholds().tolist(), strict=True)),
        }


def score(
    maps: Path, truth: Path, protocol: Protocol, mask_root: Path | None = None, processes: int = 1
) -> dict[str, Any]:
    """Score every map of a folder.

    Args:
        maps: folder of ``IMAGE_ID.npy`` files and ``.npz`` shards.
        truth: folder of the field's text files, or of a manifest.
        protocol: how to score.
        mask_root: folder that mask paths are relative to, where it is not the one of the truth.
        processes: how many processes share the work.

    Returns:
        See :meth:`Tally.result`.

    Raises:
        UserError: a folder or file is missing.
        DataError: maps and images do not match (found before anything is scored), or a map is damaged (the others are
            scored and shown first).
    """
    batches = find_maps(maps)
    mapped = [image_id for batch in batches for image_id in batch.image_ids]
    known = read_truth(truth, protocol.metric == "masks", mask_root, mapped)
    positions = {image_id: position for position, image_id in enumerate(known.image_ids)}
    _require_match(maps, mapped, positions)
    total = Tally(protocol)
    parts = _score_batches(batches, known, positions, protocol, min(processes, len(batches)))
    for part in console.progress(_once_per_image(parts), total=len(mapped), description="scoring"):
        if part is not None:
            total.merge(part)
    if total.damaged:
        raise _damage(total)
    return total.result()


def _damage(total: Tally) -> DataError:
    """The error that names what could not be scored; what could be is shown first, to the last digit."""
    images = total.images + len(total.damaged)
    if total.images:
        with suppress(DataError):  # the rest alone may have no foreground
            rest = total.result()
            show(rest, f"without the damaged ones: {total.images} of {images} images")
            console.say(json.dumps(rest))
    listed = "\n".join(f"  {line}" for line in total.damaged[:NAMED])
    named = f", the first {NAMED} of them" if len(total.damaged) > NAMED else ""
    return DataError(f"{len(total.damaged)} of {images} images could not be scored{named}:\n{listed}")


def show(result: dict[str, Any], title: str) -> None:
    """A result as a table on stderr."""
    console.say(title)
    if result["pxap"] is not None:
        console.table("", ("metric", "percent"), [("PxAP", f"{result['pxap']:.2f}")])
        return
    best = result["best_threshold"]
    rows = [(f"MaxBoxAcc, IoU {d}", f"{acc:.2f}", f"{best[d]:.3f}") for d, acc in result["max_box_acc"].items()]
    contours = "largest contour" if result["contours"] == "single" else "every contour"
    mean = (f"mean ({contours})", f"{result['max_box_acc_v2']:.2f}", "")
    console.table("", ("metric", "percent", "threshold"), [*rows, mean])


def _require_match(maps: Path, mapped: list[str], positions: dict[str, int]) -> None:
    there = set(mapped)
    missing = [image_id for image_id in positions if image_id not in there]
    extra = [image_id for image_id in mapped if image_id not in positions]
    problems = []
    if missing:
        problems.append(
            f"{len(missing)} of {len(positions)} images have no map, which would be {maps / missing[0]}.npy "
            f"or a row of a shard: {some(missing)}"
        )
    if extra:
        problems.append(f"{len(extra)} of {len(mapped)} maps belong to no image of the truth: {some(extra)}")
    if hint := similar(missing, extra):
        problems.append(f"{hint}. Rename one of the two")
    if problems:
        raise DataError("maps and truth do not match; nothing was scored.\n  " + "\n  ".join(problems))


def _once_per_image(parts: Iterable[Tally]) -> Iterator[Tally | None]:
    """Each part, and as many empty steps as it has further images: progress counts images."""
    for part in parts:
        yield part
        yield from [None] * (part.images + len(part.damaged) - 1)


class _Scorer:
    """Scores one batch after the other; a process has one."""

    def __init__(self, truth: Truth, positions: dict[str, int], protocol: Protocol) -> None:
        self.truth, self.positions, self.protocol = truth, positions, protocol

    def score(self, batch: Batch) -> Tally:
        tally = Tally(self.protocol)
        for k, image_id in enumerate(batch.image_ids):
            try:
                self._add(tally, protocol_map(batch, k, self.protocol.size), self.positions[image_id])
            except DataError as error:
                tally.damaged.append(str(error))
        return tally

    def _add(self, tally: Tally, score_map: NDArray[np.float64], position: int) -> None:
        match self.truth:
            case BoxTruth():
                tally.add_boxes(score_map, protocol_boxes(self.truth, position, self.protocol.size))
            case MaskTruth():
                tally.add_masks(score_map, *protocol_masks(self.truth, position, self.protocol.size))


_scorer: _Scorer | None = None


def _start_process(scorer: _Scorer) -> None:
    global _scorer
    _scorer = scorer
    # The parent alone answers an interruption, which the terminal sends to all.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A pool's process whose parent was killed would wait for work for ever."""
    if parent := parent_process():
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)


def _score_batch(batch: Batch) -> Tally:
    assert _scorer is not None
    return _scorer.score(batch)


def _score_batches(
    batches: list[Batch], truth: Truth, positions: dict[str, int], protocol: Protocol, processes: int
) -> Iterator[Tally]:
    cv2.setNumThreads(1)  # the processes are what shares the machine out
    # glibc returns freed memory above twice the largest block it has seen freed; without a large one, the arrays of
    # every map would be new pages, a tenth of the time. The block is never touched.
    np.empty(_ALLOCATOR_KEEPS, np.uint8)
    scorer = _Scorer(truth, positions, protocol)
    if processes == 1:
        yield from map(scorer.score, batches)
        return
    # A forked process shares the truth and the compiled code, once it is loaded, instead of loading its own.
    _load_kernels(protocol)
    context = get_context("fork" if "fork" in get_all_start_methods() else None)
    with ProcessPoolExecutor(processes, context, _start_process, (scorer,)) as pool:
        try:
            yield from pool.map(_score_batch, batches)
        except BrokenProcessPool:
            raise WsolError(
                "a scoring process ended before its work was done, most likely for lack of memory; "
                "try again with fewer --processes"
            ) from None


def _load_kernels(protocol: Protocol) -> None:
    """Compile what scoring needs, or load it from the cache, by scoring a map of four pixels."""
    nothing = np.zeros((2, 2))
    if protocol.metric == "boxes":
        Tally(protocol).add_boxes(nothing, np.zeros((1, 4), np.int64))
    else:
        Tally(protocol).add_masks(nothing, nothing > 0, nothing > 0)


def available_processes() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
