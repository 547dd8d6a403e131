"""A decision as it is kept with the run it was made about: an artifact, two tags, and facts on the version's page.

The artifact is written before an alias moves and the tags after: an artifact without its tags is a promotion that was
stopped on the way.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import TypeAdapter

from pipeline.promotion.rule import Decision
from pipeline.tracking import recorded
from pipeline.tracking.registry import artifact_names, download
from pipeline.tracking.tags import COMMIT, DATA_HASH, MODEL_HASH, REASON, VERDICT

#: Where a run's decision lies among its artifacts.
DECISION = "promotion/promotion.json"


def write_decision(client: Any, run: Any, decision: Decision) -> None:
    """Keep a decision among the run's artifacts, over an earlier one."""
    client.log_text(run.info.run_id, json.dumps(asdict(decision), indent=1), DECISION)


def read_decision(client: Any, run: Any) -> Decision | None:
    """The decision among the run's artifacts, if one was made."""
    if DECISION not in artifact_names(client, run.info.run_id, DECISION.partition("/")[0]):
        return None
    with TemporaryDirectory() as folder:
        file = download(client, run.info.run_id, DECISION, Path(folder))
        with recorded.reading(run.info.run_id, DECISION):
            return TypeAdapter(Decision).validate_json(file.read_bytes())


def tag_decision(client: Any, run: Any, decision: Decision) -> None:
    """Tag the run with a decision that was carried out; the verdict last, which stands for both."""
    client.set_tag(run.info.run_id, REASON, decision.reason)
    client.set_tag(run.info.run_id, VERDICT, decision.verdict)


def is_tagged(run: Any, decision: Decision) -> bool:
    """Whether :func:`tag_decision` came to its end."""
    tags: Mapping[str, str] = run.data.tags
    return (tags.get(VERDICT), tags.get(REASON)) == (decision.verdict, decision.reason)


def version_facts(run: Any, decision: Decision) -> dict[str, str]:
    """What a version's page says of it beside its run: makings and accuracies."""
    named = {
        "architecture": run.data.params.get("train.backbone", ""),
        "head": run.data.params.get("train.head", ""),
        "threshold": str(run.data.metrics.get("threshold", "")),
        MODEL_HASH: run.data.tags.get(MODEL_HASH, ""),
        DATA_HASH: run.data.tags.get(DATA_HASH, ""),
        COMMIT: run.data.tags.get(COMMIT, ""),
    }
    scores = {found.metric: f"{found.challenger:.4f}" for found in decision.comparisons}
    return {key: value for key, value in (named | scores).items() if value}
