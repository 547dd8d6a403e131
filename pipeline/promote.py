"""The commands ``promote`` and ``rollback``: read both contenders, decide, record the decision, move the aliases.

The decision is recorded before an alias moves, and aliases move all or not at all: a promotion that fails changes
nothing, and running it again goes on where it stopped.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Literal

from pipeline import console, mlflow_client
from pipeline.contenders import DATA_HASH, tracked_contender
from pipeline.errors import TransientError, UserError, WsolError
from pipeline.files import MODELS, read_json
from pipeline.params import Params, load_params
from pipeline.promotion import Contender, Decision, Rule, decide, incomparable
from pipeline.provenance import read_result
from pipeline.registry import DECISION, Registry, find_run, get_run
from pipeline.rescoring import rescore
from pipeline.tracking import MODEL_HASH, RUN_KEY

Approval = Literal["none", "Approve", "Reject"]
VERDICT = "wsol.promotion"
REASON = "wsol.promotion_reason"
#: How often a decision is made again because another run became champion meanwhile.
TRIES = 5


def promote(run_id: str, *, dry_run: bool = False, approval: Approval = "none") -> dict[str, Any]:
    """Let a tracked run compete with the champion.

    Args:
        run_id: of MLflow; empty for the result in the working folder.
        dry_run: decide, but record and change nothing.
        approval: of a person who was asked; "Reject" is a refusal whatever the numbers say.

    Returns:
        verdict, reason, comparisons, run, version and champion.

    Raises:
        UserError: there is no such run, or it lacks what was recorded with it.
        TransientError: the server does not answer; nothing was changed.
    """
    params = load_params()
    with _server("promote the run") as client:
        run = get_run(client, run_id) if run_id else _run_here(client, params)
        registry = Registry(client, params.track.experiment)
        for last in range(TRIES):
            try:
                return _compete(registry, run, params, dry_run=dry_run, approval=approval)
            except TransientError:
                # Another run became champion: it is the one to beat.
                if last == TRIES - 1:
                    raise
    raise AssertionError("unreachable")


@contextmanager
def _server(action: str) -> Iterator[Any]:
    with (
        mlflow_client.clear_errors(action, f"python -m pipeline {action.partition(' ')[0]}"),
        mlflow_client.patience(*mlflow_client.TRACK_PATIENCE),
    ):
        yield mlflow_client.client()


def _run_here(client: Any, params: Params) -> Any:
    run = find_run(client, params.track.experiment, read_result().run_key, _train_key())
    if run is None:
        raise UserError("the result in this folder has no row in MLflow. Run `python -m pipeline track` first.")
    return run


def _train_key() -> str:
    return str(read_json(MODELS / "training.json")["train_key"])


def _compete(registry: Registry, run: Any, params: Params, *, dry_run: bool, approval: Approval) -> dict[str, Any]:
    champion = registry.aliases().get("champion")
    version = registry.version_of(run.info.run_id)
    if champion is not None and champion == version:
        return _told(registry, run, version, "champion", Decision("promoted", "it is that already"))
    decision = _decide(registry, run, params, champion, version, approval)
    if dry_run:
        show(decision)
        return _told(registry, run, version, f"would be {decision.verdict}", decision)
    version = _carry_out(registry, run, champion, decision)
    return _told(registry, run, version, decision.verdict, decision)


def _decide(
    registry: Registry, run: Any, params: Params, champion: str | None, version: str | None, approval: Approval
) -> Decision:
    if version is not None and registry.is_rolled_back(version):
        return Decision("refused", f"version {version} was rolled back; `python -m pipeline rollback` brings it back")
    rule = Rule(**params.promote.model_dump() | {"guards": tuple(params.promote.guards)})
    challenger = tracked_contender(registry.client, run, rule.metrics)
    decision = decide(rule, challenger, _champion(registry, run, rule, challenger, champion))
    if approval == "Reject":
        return Decision("refused", f"rejected by a person ({decision.reason})", decision.comparisons)
    return decision


def _champion(registry: Registry, run: Any, rule: Rule, challenger: Contender, version: str | None) -> Contender | None:
    """The champion as it was scored, or scored anew where that does not compare and its data is here."""
    if version is None:
        return None
    champion_run = registry.run_of(version)
    recorded = tracked_contender(registry.client, champion_run, rule.metrics)
    reason = incomparable(rule, challenger, recorded)
    if not reason:
        return recorded
    console.say(reason)
    if not _is_here(run):
        console.say(
            f"To have the champion scored anew: `python -m pipeline checkout {run.info.run_id} FOLDER`, then promote "
            "there."
        )
        return recorded
    try:
        return rescore(registry.client, champion_run, challenger, rule.metrics)
    except WsolError as error:
        console.warn(
            f"the champion cannot be scored here: {error} Results that have nothing in common belong in an "
            "experiment of their own (track.experiment)."
        )
        return recorded


def _is_here(run: Any) -> bool:
    """Whether the working folder holds the run's result, and so its data."""
    try:
        return bool(read_result().run_key == run.data.tags[RUN_KEY])
    except UserError:
        return False


def _carry_out(registry: Registry, run: Any, champion: str | None, decision: Decision) -> str:
    with registry.changing(champion):
        version = registry.register(run, _facts(run, decision))
        registry.client.log_text(run.info.run_id, json.dumps(asdict(decision), indent=1), DECISION)
        if decision.verdict == "refused":
            registry.set_aliases({"challenger": version})
        elif champion is None:
            registry.set_aliases({"challenger": version, "champion": version})
        else:
            # The champion last: whatever stops this on the way, it stays.
            registry.set_aliases({"challenger": version, "previous": champion, "champion": version})
        registry.client.set_tag(run.info.run_id, VERDICT, decision.verdict)
        registry.client.set_tag(run.info.run_id, REASON, decision.reason)
    return version


def _facts(run: Any, decision: Decision) -> dict[str, str]:
    """What a version's page says of it beside its run: makings and accuracies."""
    named = {
        "architecture": run.data.params.get("train.backbone", ""),
        "head": run.data.params.get("train.head", ""),
        "threshold": str(run.data.metrics.get("threshold", "")),
        MODEL_HASH: run.data.tags.get(MODEL_HASH, ""),
        DATA_HASH: run.data.tags.get(DATA_HASH, ""),
        "wsol.git_commit": run.data.tags.get("wsol.git_commit", ""),
    }
    scores = {found.metric: f"{found.challenger:.4f}" for found in decision.comparisons}
    return {key: value for key, value in (named | scores).items() if value}


def _told(registry: Registry, run: Any, version: str | None, verdict: str, decision: Decision) -> dict[str, Any]:
    """The command's line for people; returns the one for machines."""
    number = f"version {version} of model {registry.name}" if version else "the run"
    console.say(f"{verdict}: {number}, run {run.info.run_id}: {decision.reason}")
    return {
        "verdict": verdict,
        "reason": decision.reason,
        "run_id": run.info.run_id,
        "run_name": run.info.run_name,
        "experiment_id": run.info.experiment_id,
        "model": registry.name,
        "version": version,
        "champion": registry.aliases().get("champion"),
        "comparisons": [asdict(found) for found in decision.comparisons],
    }


def show(decision: Decision) -> None:
    """The table of differences, where there is one."""
    if decision.comparisons:
        rows = (
            (
                found.metric,
                "–" if found.champion is None else f"{found.champion:.2f}",
                f"{found.challenger:.2f}",
                "–" if found.difference is None else f"{found.difference:+.2f} [{found.low:+.2f}, {found.high:+.2f}]",
            )
            for found in decision.comparisons
        )
        console.table("In percent, differences with 95 % intervals", ("", "champion", "challenger", "difference"), rows)


def rollback() -> dict[str, Any]:
    """Champion and previous change places; a second rollback undoes the first.

    Raises:
        UserError: there is no previous champion.
    """
    params = load_params()
    with _server("rollback the champion") as client:
        registry = Registry(client, params.track.experiment)
        aliases = registry.aliases()
        champion, previous = aliases.get("champion"), aliases.get("previous")
        if champion is None or previous is None or champion == previous:
            raise UserError(
                f"model {registry.name} has no champion before the present one ({champion or 'none'}): nothing to go "
                "back to."
            )
        with registry.changing(champion):
            registry.set_aliases({"previous": champion, "champion": previous})
            registry.mark_rolled_back(champion, rolled_back=True)
            registry.mark_rolled_back(previous, rolled_back=False)
        console.say(f"champion of model {registry.name} is version {previous} again; version {champion} is previous")
        return {"model": registry.name, "champion": previous, "previous": champion}
