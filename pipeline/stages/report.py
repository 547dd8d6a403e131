"""Numbers, curves and a gallery in one HTML file that needs nothing beside it.

Reads metrics, boxes, cams, data/prepared, the images of the gallery, models/history.csv and the settings; writes
report/index.html.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline import console
from pipeline.data.images import read_image
from pipeline.data.manifest import Dataset, ImageRow, read_dataset
from pipeline.evaluation.score_maps import FRAME
from pipeline.files import BOXES, CAMS, METRICS, MODELS, PREPARED, REPORT, reading, replacing_folder, write_bytes
from pipeline.params import Params, replaced
from pipeline.records import Inputs, write_record
from pipeline.report.figures import threshold_figure, training_figure
from pipeline.report.gallery import Example, choose, chosen_maps, corner_and_size, pictures
from pipeline.report.page import render
from pipeline.results import read_history, read_metrics, read_threshold_curve, read_training
from pipeline.schemas import CAM_SHARD, PER_IMAGE, PREDICTIONS, parse_table

SPLIT = "test"
#: The settings shown: those that dvc.yaml lists for this stage, so that the page is made anew when one changes.
SHOWN = ("seed", "prepare.dataset", "train.", "extract_cams.", "localize.", "evaluate.iou")


def run(params: Params) -> dict[str, Any]:
    """Write the page; returns where it is and its size."""
    inputs = Inputs(PREPARED, MODELS, CAMS, BOXES, METRICS)
    metrics, made_with = read_metrics(inputs), replaced(params, inputs.settings())
    page = render(
        metrics=metrics,
        deltas=made_with.evaluate.iou,
        settings={name: value for name, value in made_with.flat().items() if name.startswith(SHOWN)},
        figures=_figures(metrics["threshold"], inputs),
        gallery=_gallery(read_dataset(read=inputs.read), inputs),
    ).encode()
    with replacing_folder(REPORT) as folder:
        write_bytes(folder / "index.html", page)
        write_record(folder, REPORT, inputs, params)
    path = REPORT / "index.html"
    console.say(f"report: {path.absolute()}")
    return {"path": str(path), "bytes": len(page)}


def _figures(tau: float, inputs: Inputs) -> dict[str, str | None]:
    history = read_history(read_training(inputs))
    return {
        "threshold": threshold_figure(read_threshold_curve(inputs), tau),
        "loss": training_figure(history, {"loss": "train", "val_loss": "val"}, "loss", "symlog"),
        "accuracy": training_figure(history, {"accuracy": "train", "val_accuracy": "val"}, "accuracy in %"),
        "entropy": training_figure(history, {"entropy": "train"}, "predictive entropy in nats"),
    }


def _gallery(dataset: Dataset, inputs: Inputs) -> dict[str, list[Example]]:
    """Examples ranked by IoU, or by confidence where images have no boxes."""
    table = _scored_images(inputs)
    ranked, by = (boxed, "iou") if len(boxed := table[table["iou"].notna()]) else (table, "score")
    groups = choose(ranked, by)
    scores, images = table.set_index("image_id"), dataset.images(SPLIT)
    shards = inputs.shards(CAMS / SPLIT, CAM_SHARD)
    maps = chosen_maps(shards, {image_id for group in groups.values() for image_id in group})
    return {
        name: [_example(dataset, images[image_id], scores.loc[image_id], maps[image_id]) for image_id in group]
        for name, group in groups.items()
    }


def _scored_images(inputs: Inputs) -> pd.DataFrame:
    """Scores and predictions of the split, one row per image."""
    with reading(METRICS / "per_image.parquet"):
        scored = parse_table(inputs.read(METRICS / "per_image.parquet"), PER_IMAGE)
    with reading(BOXES / "predictions.parquet"):
        predicted = parse_table(inputs.read(BOXES / "predictions.parquet"), PREDICTIONS)
    predicted = predicted[["image_id", "split", "predicted", "score"]]
    return scored[scored["split"] == SPLIT].merge(predicted, on=["image_id", "split"], validate="one_to_one")


def _example(dataset: Dataset, image: ImageRow, row: Any, score_map: NDArray[np.float32]) -> Example:
    shown = pictures(read_image(dataset.root / image.path, upright=dataset.upright), score_map)
    size = (shown["width"], shown["height"])
    return Example(
        image_id=str(row.name),
        predicted_box=corner_and_size(np.array([row["box"]], np.float64), (FRAME, FRAME), size)[0],
        true_boxes=corner_and_size(image.boxes, (image.width, image.height), size),
        label=dataset.classes[row["label"]],
        predicted=row["predicted"],
        score=float(row["score"]),
        iou=None if pd.isna(row["iou"]) else float(row["iou"]),
        **shown,
    )
