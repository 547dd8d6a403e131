"""The result in one HTML file that needs nothing beside it: verdict, numbers, failures and a gallery.

Reads metrics, boxes, cams, data/prepared, the images of the gallery, models/history.csv, the settings, and the result
before this one where data/previous holds it; writes report/index.html. Dates and commits on the page are those that
the training noted, so that equal inputs give equal bytes.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import console
from pipeline.data.images import read_image
from pipeline.data.manifest import SPLITS, Dataset, read_dataset
from pipeline.data.refined import drawn_on
from pipeline.evaluation.geometry import to_protocol
from pipeline.evaluation.score_maps import FRAME
from pipeline.files import (
    BOXES,
    CAMS,
    EVALUATED_SPLITS,
    METRICS,
    MODELS,
    PREPARED,
    PREVIOUS,
    RECORD,
    REPORT,
    reading,
    replacing_folder,
    write_bytes,
)
from pipeline.params import Params, replaced
from pipeline.records import Inputs, Training, write_record
from pipeline.report.breakdown import breakdowns
from pipeline.report.card import data_card
from pipeline.report.curves import cost, stop_accuracies, threshold_chart, training_charts
from pipeline.report.facts import image_facts
from pipeline.report.gallery import Tile, boxes_by_stop, chosen, coloured, picture, sample, stops
from pipeline.report.numbers import COVERAGE, accuracies, beside, value
from pipeline.report.page import Content, render
from pipeline.report.summary import not_measured
from pipeline.report.verdict import Earlier, against_earlier, changes, sentences
from pipeline.results import read_history, read_metrics, read_threshold_curve, read_training
from pipeline.schemas import (
    BOX_SHARD,
    CAM_SHARD,
    CLASS_BOX_SHARD,
    CLASS_CAM_SHARD,
    PER_IMAGE,
    PREDICTIONS,
    Kind,
    origin,
    parse_table,
)
from pipeline.several.maps import Shard
from pipeline.several.rows import by_class, shown_classes, with_predictions

SPLIT = "test"
#: The settings shown: those that dvc.yaml lists for this stage, so that the page is made anew when one changes.
SHOWN = ("seed", "prepare.dataset", "train.", "extract_cams.", "localize.", "evaluate.iou")


def run(params: Params) -> dict[str, Any]:
    """Write the page; returns where it is and its size."""
    inputs = Inputs(PREPARED, MODELS, CAMS, BOXES, METRICS)
    page = render(_content(inputs, params)).encode()
    with replacing_folder(REPORT) as folder:
        write_bytes(folder / "index.html", page)
        write_record(folder, REPORT, inputs, params)
    path = REPORT / "index.html"
    console.say(f"report: {path.absolute()}")
    return {"path": str(path), "bytes": len(page)}


def _content(inputs: Inputs, params: Params) -> Content:
    dataset, metrics, training = read_dataset(read=inputs.read), read_metrics(inputs), read_training(inputs)
    made_with = replaced(params, inputs.settings())
    settings = {name: value for name, value in made_with.flat().items() if name.startswith(SHOWN)}
    curve, tau = read_threshold_curve(inputs), metrics["threshold"]
    images = by_class(dataset, SPLIT) if dataset.several_labels else dataset.split(SPLIT)
    facts = image_facts(_scored_images(dataset, images, inputs), images)
    groups, deltas = breakdowns(facts, dataset.classes), made_with.evaluate.iou
    by = "iou" if "kind" in groups else "score"
    taus = stops(curve["threshold"].to_numpy(), tau)
    rows = sample(facts, groups, by)
    earlier = _earlier()
    return Content(
        title=f"Localization of {settings['prepare.dataset']}",
        subtitle=_subtitle(made_with),
        provenance=_provenance(training, dataset, inputs),
        split=SPLIT,
        deltas=deltas,
        verdict=list(sentences(metrics, facts, groups, SPLIT)),
        earlier=list(against_earlier(facts, earlier)) if earlier else [],
        changes=changes(inputs.settings(), inputs.made_from, tau, training.commit, earlier) if earlier else [],
        note=not_measured(SPLIT, metrics[SPLIT]),
        numbers={split: accuracies(metrics[split], deltas) for split in _scored_splits(metrics)},
        images={split: int(metrics[split]["images"]) for split in _scored_splits(metrics)},
        beside=beside(metrics[SPLIT]),
        coverage={text: found for name, text in COVERAGE.items() if (found := value(metrics[SPLIT], name))},
        tau=tau,
        tau_origin=origin(metrics),
        threshold_chart=threshold_chart(curve, SPLIT, taus, deltas),
        cost=cost(curve, SPLIT, tau, metrics[SPLIT], deltas),
        groups=groups,
        training=training_charts(read_history(training)),
        card=data_card(dataset.rows, SPLITS, dataset.classes, dataset.equal_images),
        facts=facts,
        classes=dataset.classes,
        stops=taus,
        accuracy=stop_accuracies(curve, SPLIT, taus, metrics, deltas),
        tiles=_tiles(rows, facts, taus, dataset, images, inputs),
        examples=_examples(facts, rows, by),
        settings=settings,
    )


def _subtitle(params: Params) -> str:
    train = params.train
    return (
        f"{train.backbone}, {train.regularizer} with λ = {train.lambda_:g}, seed {params.seed}; maps by "
        f"{params.extract_cams.method}"
    )


def _provenance(training: Training, dataset: Dataset, inputs: Inputs) -> list[tuple[str, str]]:
    facts = {
        "trained": training.finished.replace("T", " ").replace("+00:00", " UTC"),
        "on": training.device,
        "in": f"{training.seconds / 60:,.1f} minutes",
        "commit": training.commit[:12] + ", changed" * training.commit.endswith("+"),
        "data": dataset.content_hash[:12],
        "result": inputs.records[METRICS].identity[:12],
    }
    return [(name, text) for name, text in facts.items() if text]


def _scored_splits(metrics: Mapping[str, Any]) -> list[str]:
    return [split for split in reversed(EVALUATED_SPLITS) if split in metrics]


def _scored_images(dataset: Dataset, images: pd.DataFrame, inputs: Inputs) -> pd.DataFrame:
    """Scores and predictions of the split, one row per image, or per class that an image shows."""
    scored = _per_image(METRICS, inputs, {**PER_IMAGE, "entropy": "number?"})
    with reading(BOXES / "predictions.parquet"):
        predicted = parse_table(inputs.read(BOXES / "predictions.parquet"), PREDICTIONS)
    predicted = predicted[["image_id", "split", "predicted", "score"]]
    if dataset.several_labels:
        return with_predictions(scored, predicted[predicted["split"] == SPLIT], images, dataset)
    return scored.merge(predicted, on=["image_id", "split"], validate="one_to_one")


def _per_image(folder: Path, inputs: Inputs, columns: Mapping[str, Kind]) -> pd.DataFrame:
    with reading(folder / "per_image.parquet"):
        scored = parse_table(inputs.read(folder / "per_image.parquet"), columns)
    return scored[scored["split"] == SPLIT].reset_index(drop=True)


def _earlier() -> Earlier | None:
    """The result before this one, where it was kept."""
    if not (PREVIOUS / RECORD).exists():
        return None
    inputs = Inputs(PREVIOUS)
    metrics = read_metrics(inputs, PREVIOUS)
    commit = read_training(inputs, PREVIOUS).commit
    return Earlier(
        _per_image(PREVIOUS, inputs, PER_IMAGE),
        inputs.settings(),
        inputs.made_from,
        float(metrics["threshold"]),
        commit,
    )


def _tiles(
    rows: list[int], facts: pd.DataFrame, taus: Any, dataset: Dataset, images: pd.DataFrame, inputs: Inputs
) -> dict[int, Tile]:
    """Pictures, maps and boxes of some rows of ``facts``."""
    places = {facts["image_id"].iloc[row]: row for row in rows}
    cams, drawn_boxes = _shards(dataset, inputs)
    maps = chosen(cams, ("maps", "classes"), set(places))
    levels = chosen(drawn_boxes, ("boxes", "standards"), set(places))
    images = images.set_index("image_id")
    found = {}
    for (image_id, cam), (_, drawn) in console.progress(zip(maps, levels, strict=True), len(places), "gallery"):
        image = images.loc[image_id]
        other = cam["classes"][0] != cam["classes"][1]
        truth = np.array([list(box) for box in image["boxes"]], np.float64).reshape(-1, 4)
        found[places[image_id]] = Tile(
            **picture(read_image(dataset.root / image["path"], upright=dataset.upright)),
            map=coloured(cam["maps"][0]),
            other_map=coloured(cam["maps"][1]) if other else "",
            boxes=boxes_by_stop(drawn["boxes"], float(drawn["standards"]), taus),
            truth=to_protocol(truth, image["width"].item(), image["height"].item(), FRAME).tolist(),
        )
    return found


def _shards(dataset: Dataset, inputs: Inputs) -> Iterable[Iterator[Shard]]:
    """Of maps and of boxes, with a row for each image, or for each class that it shows."""
    several = dataset.several_labels
    cams = inputs.shards(CAMS / SPLIT, CLASS_CAM_SHARD if several else CAM_SHARD)
    boxes, again = (inputs.shards(BOXES / SPLIT, CLASS_BOX_SHARD if several else BOX_SHARD) for _ in range(2))
    cams = (one | {"maps": drawn_on(one, other)} for one, other in zip(cams, boxes, strict=True))
    return [shown_classes(dataset, shards) for shards in (cams, again)] if several else (cams, again)


def _examples(facts: pd.DataFrame, rows: list[int], by: str) -> list[tuple[str, int]]:
    """The two best, two in the middle and the two worst of the rows that have pictures."""
    ranked = facts.iloc[rows].dropna(subset=[by]).sort_values([by, "image_id"], ascending=[False, True])
    places = ranked.index.tolist()
    middle = max(len(places) // 2 - 1, 0)
    named = {"best": places[:2], "median": places[middle : middle + 2], "worst": places[-2:]}
    shown: dict[int, str] = {}
    for group, members in named.items():
        for row in members:
            shown.setdefault(row, group)
    return [(group, row) for row, group in shown.items()]
