"""The page: everything the templates show, put together, with what the gallery's script works on."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from pipeline.evaluation.score_maps import FRAME
from pipeline.report.breakdown import Breakdown
from pipeline.report.card import Card
from pipeline.report.charts import Chart
from pipeline.report.facts import KINDS
from pipeline.report.gallery import Tile
from pipeline.report.numbers import Measure, Value
from pipeline.report.verdict import Sentence

TEMPLATES = Path(__file__).parent / "templates"
#: Breakdowns that are shown under "Where it fails", and those that are distributions.
FAILURES, DISTRIBUTIONS = ("kind", "size", "aspect", "position", "objects"), ("iou", "score", "entropy")
#: Classes that are shown without a click, the worst ones.
CLASSES_SHOWN = 8


@dataclass(frozen=True)
class Content:
    """All that a report says; texts are shown as they are, whatever markup they hold.

    Attributes:
        provenance: (what, value) of the line below the title.
        numbers: by split, by group, measures with a value for each IoU criterion.
        cost: rows of (label, values for each IoU criterion, their change) of other thresholds.
        changes: what differs from the previous result: (what, before, now).
        examples: tiles shown without a script and in print: (group, row of ``facts``).
        accuracy: of the split at every stop, for each IoU criterion, in percent; empty without boxes.
    """

    title: str
    subtitle: str
    provenance: Sequence[tuple[str, str]]
    split: str
    deltas: Sequence[float]
    verdict: Sequence[Sentence]
    earlier: Sequence[Sentence]
    changes: Sequence[tuple[str, str, str]]
    note: str
    numbers: Mapping[str, Mapping[str, Sequence[tuple[Measure, Sequence[Value | None]]]]]
    images: Mapping[str, int]
    beside: Mapping[str, Value]
    coverage: Mapping[str, Value]
    tau: float
    tau_origin: str
    threshold_chart: Chart | None
    cost: Sequence[tuple[str, Sequence[tuple[float, float]]]]
    groups: Mapping[str, Breakdown]
    training: Sequence[Chart]
    card: Card
    facts: pd.DataFrame
    classes: Sequence[str]
    stops: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    tiles: Mapping[int, Tile]
    examples: Sequence[tuple[str, int]]
    settings: Mapping[str, Any]


def render(content: Content) -> str:
    """The page as HTML that loads nothing."""
    script, groups = (TEMPLATES / "report.js").read_text(), content.groups
    failures, distributions = ([groups[key] for key in keys if key in groups] for keys in (FAILURES, DISTRIBUTIONS))
    return environment().get_template("report.html.j2").render(
        page=content,
        failures=failures,
        distributions=distributions,
        filters=[groups["label"], *failures, *distributions],
        worst=groups["label"].worst_first if "kind" in groups else [],
        classes_shown=CLASSES_SHOWN,
        kinds=KINDS,
        frame=FRAME,
        script=Markup(script),
        script_hash=script_hash(script),
        style=Markup((TEMPLATES / "page.css").read_text()),
        data=_data(content),
    )  # fmt: skip


def environment() -> jinja2.Environment:
    """Templates in which whatever is not marked as markup is text."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False, "allow_nan": False}
    return made


def script_hash(script: str) -> str:
    """What a content security policy knows a script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _data(content: Content) -> dict[str, Any]:
    """What the script works on: a list per column, shares in thousandths, -1 for what there is not."""
    facts = content.facts
    places = {name: place for place, name in enumerate(content.classes)}
    return {
        "frame": FRAME,
        "tau": content.tau,
        "stops": content.stops.round(6).tolist(),
        "deltas": list(content.deltas),
        "accuracy": content.accuracy.round(2).tolist(),
        "classes": list(content.classes),
        "ids": facts["image_id"].astype(str).tolist(),
        "predicted": facts["predicted"].map(places).fillna(-1).astype(int).tolist(),
        "score": _thousandths(facts["score"]),
        "iou": _thousandths(facts["iou"]),
        "entropy": _thousandths(facts["entropy"]),
        "groups": {group.key: group.codes.tolist() for group in content.groups.values()},
        "tiles": [
            [row, tile.picture, tile.map, tile.other_map, tile.width, tile.height, tile.boxes, tile.truth]
            for row, tile in content.tiles.items()
        ],
    }


def _thousandths(column: pd.Series) -> list[int]:
    return [int(value) for value in (column.astype(float) * 1000).round().fillna(-1)]
