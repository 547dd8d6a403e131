"""Views of an experiment that lie ready in MLflow: which columns, sorted by what, and which charts.

MLflow keeps a view that a person shares as a tag of the experiment, and an address names it by the tag. The tags
written here have the form of those (MLflow 3.17, ``static-files``; its ``mlflow/demo/generators/saved_views.py`` writes
such tags too). The form is not documented: what another version makes of it costs a view and nothing else.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline import console
from pipeline.tracking import tags
from pipeline.tracking.headlines import ACCURACIES, ENTROPY, GT_KNOWN, MINUTES, OVER_GAUSSIAN, TAU, VAL_GT_KNOWN

RESULTS = "results"
#: Prefixes of the other metrics: of each, MLflow would unfold a section of charts.
FOLDED = ("Model metrics", "gate", "test", "threshold_curve/gate", "threshold_curve/test", "threshold_curve/val",
          "train", "val", "System metrics")  # fmt: skip
#: When the views were made, for the list of them; any time will do, but always the same one.
MADE = 1_767_225_600_000
TOP1 = ("Top-1 cls", "Top-1 loc 0.5")

Card = Mapping[str, Any]


def metrics(*names: str) -> list[str]:
    """Columns of metrics."""
    return [f"metrics.`{name}`" for name in names]


def params(*names: str) -> list[str]:
    """Columns of parameters."""
    return [f"params.`{name}`" for name in names]


def _columns(*names: str) -> list[str]:
    return [f"tags.`{name}`" for name in names]


def _scatter(title: str, x: str, y: str, *, parameter: bool = False) -> Card:
    xaxis = {"key": x, "type": "PARAM" if parameter else "METRIC"}
    return {"type": "SCATTER", "displayName": title, "xaxis": xaxis, "yaxis": {"key": y, "type": "METRIC"},
            "runsCountToCompare": 100}  # fmt: skip


def _line(title: str, *names: str) -> Card:
    return {"type": "LINE", "displayName": title, "metricKey": names[0], "selectedMetricKeys": list(names),
            "xAxisKey": "step", "useGlobalXaxisKey": False, "runsCountToCompare": 20}  # fmt: skip


def _bar(name: str) -> Card:
    return {"type": "BAR", "metricKey": name, "runsCountToCompare": 20}


def _parallel(title: str, parameters: Sequence[str], names: Sequence[str]) -> Card:
    return {"type": "PARALLEL", "displayName": title, "selectedParams": list(parameters),
            "selectedMetrics": list(names), "showAllRuns": True}  # fmt: skip


def _charts(title: str, cards: Iterable[Card]) -> dict[str, Any]:
    """One section of charts, the first; those that MLflow makes of every other metric are folded below."""
    first = {"uuid": "wsol", "name": title, "display": True, "columns": 2, "cardHeight": 360}
    others = [{"uuid": f"wsol-{name}", "name": name, "display": False} for name in FOLDED]
    marks = {"isReordered": True, "deleted": False, "isGenerated": False}
    made = [
        {"uuid": f"wsol-{number}", "metricSectionId": "wsol", "deleted": False, "isGenerated": False, **card}
        for number, card in enumerate(cards, start=1)
    ]
    return {
        "compareRunCharts": made,
        "compareRunSections": [section | marks for section in (first, *others)],
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
        "runsHiddenMode": "FIRST_20_RUNS",
    }


def views() -> dict[str, dict[str, Any]]:
    """The views by the name that an address gives: a title for the list of views, and the state of the page."""
    sorted_by = {"orderByKey": metrics(VAL_GT_KNOWN)[0], "orderByAsc": False, "searchFilter": "", "startTime": "ALL",
                 "lifecycleFilter": "Active", "modelVersionFilter": "All Runs", "datasetsFilter": []}  # fmt: skip
    lambda_ = params("train.regularizer", "train.lambda")
    accuracies = [name for name in ACCURACIES if name != "PxAP"]
    found = {
        RESULTS: {
            "name": "Results",
            "selectedColumns": [
                *metrics(*accuracies, OVER_GAUSSIAN, TAU),
                *lambda_,
                *_columns(tags.CHAMPION, tags.VERDICT),
            ],
            **_charts("Accuracies", [_bar(VAL_GT_KNOWN), _bar(GT_KNOWN), _bar("Top-1 loc 0.5"), _bar(OVER_GAUSSIAN)]),
        },
        "lambda": {
            "name": "λ sweep",
            "selectedColumns": [*metrics(VAL_GT_KNOWN, GT_KNOWN, *TOP1, ENTROPY, TAU), *lambda_, *params("seed")],
            **_charts(
                "λ and entropy",
                [
                    _parallel("λ to localization", ["train.lambda"], [ENTROPY, TAU, TOP1[0], GT_KNOWN, VAL_GT_KNOWN]),
                    _scatter("λ against GT-known on val", "train.lambda", VAL_GT_KNOWN, parameter=True),
                    _scatter("Entropy against GT-known", ENTROPY, GT_KNOWN),
                    _scatter("λ against entropy", "train.lambda", ENTROPY, parameter=True),
                ],
            ),
        },
        "thresholds": {
            "name": "Thresholds",
            "selectedColumns": [
                *metrics(TAU, "GT-known 0.3", GT_KNOWN, "GT-known 0.7", "MaxBoxAcc 0.5", VAL_GT_KNOWN),
                *params("localize.standard", "localize.threshold"),
            ],
            **_charts("GT-known in percent against 100·τ", [
                _line(f"{split}, IoU {iou / 100}", f"threshold_curve/{split}/gt_known_iou{iou}")
                for split, iou in (("test", 50), ("val", 50), ("test", 30), ("test", 70))
            ]),
        },
        "cost": {
            "name": "Cost",
            "selectedColumns": [
                "attributes.`Duration`",
                *metrics(MINUTES, GT_KNOWN, "train_parameters", "train/images_per_s"),
                *params("train.backbone", "train.epochs", "train.batch_size", "train.precision"),
                *_columns(tags.TRAIN_DEVICE),
            ],
            **_charts("Cost", [
                _scatter("Minutes of training against GT-known", MINUTES, GT_KNOWN),
                _bar(MINUTES),
                _line("Images per second", "train/images_per_s"),
                _line("Seconds per epoch", "train/seconds"),
            ]),
        },
    }  # fmt: skip
    return {key: {"name": view.pop("name"), "state": sorted_by | view} for key, view in found.items()}


def address(experiment_id: str, view: str) -> str:
    """Where a view is shown, below the address of the MLflow page."""
    mode = "&compareRunsMode=CHART" * (view != RESULTS)
    return f"/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey={view}{mode}"


def arrange(client: Any, experiment_id: str) -> None:
    """Give an experiment its views, as far as it lacks them; what a person has put in a view's place stays.

    A failure costs the views and is said.
    """
    from mlflow import MlflowException

    try:
        present = client.get_experiment(experiment_id).tags
        for key, value in _experiment_tags().items():
            before = present.get(key)
            if before != value and (before is None or _is_ours(before)):
                client.set_experiment_tag(experiment_id, key, value)
    except (MlflowException, OSError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        console.warn(f"the experiment's views in MLflow are not set up: {reason}")


def _experiment_tags() -> dict[str, str]:
    of_views = {tags.VIEW + key: _written(view) for key, view in views().items()}
    return {tags.EXPERIMENT_KIND: "custom_model_development", tags.PRIMARY_METRIC: VAL_GT_KNOWN} | of_views


def _written(view: Mapping[str, Any]) -> str:
    state = json.dumps(view["state"], separators=(",", ":"))
    return json.dumps({"name": view["name"], "createdAt": MADE, "by": "wsol", "state": state}, separators=(",", ":"))


def _is_ours(value: str) -> bool:
    """Whether a tag was written here, by this version or another; MLflow's page writes no ``by``."""
    try:
        found = json.loads(value)
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("by") == "wsol"
