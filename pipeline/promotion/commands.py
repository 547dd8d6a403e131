"""The commands ``promote`` and ``rollback``: read both contenders, decide, record the decision, move the aliases.

Every comparison is counted with the champion, before a number is seen, and makes the next one harder to pass; a dry run
is one too, and the same run entered afterwards is not counted again.

The decision is recorded before an alias moves, and the champion's alias moves last: until then a promotion that fails
leaves the champion, and after that the same command completes what was not written.
"""

from collections.abc import Iterator
from contextlib import chdir, contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from pipeline import console
from pipeline.errors import UserError
from pipeline.execution.checkout import checkout_run
from pipeline.params import Params, load_params
from pipeline.promotion.contenders import tracked_contender
from pipeline.promotion.record import is_tagged, read_decision, tag_decision, version_facts, write_decision
from pipeline.promotion.rescoring import rescore
from pipeline.promotion.rule import CHAMPION, Contender, Decision, Rule, decide, incomparable, obstacle, shortcoming
from pipeline.system.state import state_folder
from pipeline.tracking import server
from pipeline.tracking.provenance import read_result
from pipeline.tracking.registry import Alias, ChampionChanged, Registry, find_run, get_run
from pipeline.tracking.tags import RUN_KEY

Approval = Literal["none", "Approve", "Reject"]
#: How often a decision is made again because another run became champion meanwhile.
TRIES = 5


def promote(run_id: str, *, dry_run: bool = False, approval: Approval = "none") -> dict[str, Any]:
    """Let a tracked run compete with the champion.

    Args:
        run_id: of MLflow; empty for the result in the working folder.
        dry_run: decide, but change no alias and record no decision; what was compared is counted all the same.
        approval: of a person who was asked; "Reject" is a refusal whatever the numbers say.

    Returns:
        verdict, reason, comparisons, run, version and champion.

    Raises:
        UserError: there is no such run, or it lacks what was recorded with it.
        TransientError: the server does not answer; the same command later goes on.
        WsolError: the champion could not be scored anew; nothing was changed.
    """
    params = load_params()
    with _server("promote the run") as client:
        run = get_run(client, run_id) if run_id else _run_here(client, params)
        registry = Registry(client, params.track.experiment)
        for last in range(TRIES):
            try:
                return _compete(registry, run, params, dry_run=dry_run, approval=approval)
            except ChampionChanged:
                # Another run became champion: it is the one to beat.
                if last == TRIES - 1:
                    raise
    raise AssertionError("unreachable")


@contextmanager
def _server(action: str) -> Iterator[Any]:
    with (
        server.clear_errors(action, f"python -m pipeline {action.partition(' ')[0]}"),
        server.patience(*server.TRACK_PATIENCE),
    ):
        yield server.client()


def _run_here(client: Any, params: Params) -> Any:
    result = read_result()
    run = find_run(client, params.track.experiment, result.run_key, result.training.train_key)
    if run is None:
        raise UserError("the result in this folder has no row in MLflow. Run `python -m pipeline track` first.")
    return run


def _compete(registry: Registry, run: Any, params: Params, *, dry_run: bool, approval: Approval) -> dict[str, Any]:
    aliases = registry.aliases()
    champion = aliases.get("champion")
    version = registry.version_of(run.info.run_id)
    if champion is not None and champion == version:
        return _champion_already(registry, run, version, dry_run=dry_run)
    decision = _decide(registry, run, params, aliases, approval)
    if dry_run:
        show(decision)
        return _told(registry, run, version, champion, f"would be {decision.verdict}", decision)
    version = _carry_out(registry, run, champion, decision)
    champion = version if decision.verdict == "promoted" else champion
    return _told(registry, run, version, champion, decision.verdict, decision)


def _champion_already(registry: Registry, run: Any, version: str, *, dry_run: bool) -> dict[str, Any]:
    """The decision that made a run champion; one that was stopped after the aliases moved is completed."""
    decision = read_decision(registry.client, run)
    if decision is None or decision.verdict == "refused":
        # Someone gave it the alias by hand, or a rollback did.
        return _told(registry, run, version, version, "champion", Decision("promoted", "it is that already"))
    if not dry_run and not is_tagged(run, decision):
        tag_decision(registry.client, run, decision)
        return _told(registry, run, version, version, "promoted", decision)
    return _told(registry, run, version, version, "champion", replace(decision, reason="it is that already"))


def _decide(registry: Registry, run: Any, params: Params, aliases: dict[str, str], approval: Approval) -> Decision:
    if (version := registry.rolled_back_like(run)) is not None:
        return Decision(
            "refused",
            f"version {version}, which has this model, was rolled back; `python -m pipeline rollback` brings it back",
        )
    rule = Rule(**params.promote.model_dump() | {"guards": tuple(params.promote.guards)})
    challenger = tracked_contender(registry.client, run, rule.metrics)
    rival = aliases.get("champion", aliases.get("previous"))
    decision = _compare(registry, run, rule, challenger, rival)
    if rival is not None and "champion" not in aliases:
        decision = replace(decision, reason=f"{decision.reason} (against {_without_champion(rival)})")
    if approval == "Reject":
        return replace(decision, verdict="refused", reason=f"rejected by a person ({decision.reason})")
    return decision


def _compare(registry: Registry, run: Any, rule: Rule, challenger: Contender, rival: str | None) -> Decision:
    if reason := shortcoming(rule, challenger):
        # No champion need be fetched, let alone scored anew.
        return Decision("refused", reason)
    champion = _champion(registry, run, rule, challenger, rival)
    if reason := obstacle(rule, challenger, champion):
        return Decision("refused", reason)
    return decide(rule, challenger, champion, registry.look(rival, run, rule.metric))


def _without_champion(previous: str) -> str:
    return (
        f"the previous champion, version {previous}, as none has the alias champion; `python -m pipeline rollback` "
        "gives it to that version"
    )


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
    try:
        with nullcontext() if _is_here(run) else _checked_out(run):
            return rescore(registry.client, champion_run, challenger, rule.metrics)
    except UserError as error:
        # Any other fault says nothing of the two: a refusal would stay with the run, where a later try may succeed.
        console.warn(
            f"the champion cannot be scored on this run's data: {error} Results that have nothing in common belong in "
            "an experiment of their own (track.experiment)."
        )
        return recorded


@contextmanager
def _checked_out(run: Any) -> Iterator[None]:
    """The run's code, parameters and data as the working folder, wherever the command was given."""
    console.say(f"run {run.info.run_id} is not what lies here: checking it out for the comparison …")
    place = state_folder() / "checkouts"
    place.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="promote-", dir=place) as folder:
        checkout_run(run.info.run_id, Path(folder))
        with chdir(folder):
            yield


def _is_here(run: Any) -> bool:
    """Whether the working folder holds the run's result, and so its data."""
    try:
        return bool(read_result().run_key == run.data.tags[RUN_KEY])
    except UserError:
        return False


def _carry_out(registry: Registry, run: Any, champion: str | None, decision: Decision) -> str:
    with registry.changing(champion):
        version = registry.register(run, version_facts(run, decision))
        write_decision(registry.client, run, decision)
        registry.set_aliases(_changes(version, champion, decision))
        tag_decision(registry.client, run, decision)
    return version


def _changes(version: str, champion: str | None, decision: Decision) -> dict[Alias, str]:
    if decision.verdict == "refused":
        return {"challenger": version}
    if champion is None:
        return {"challenger": version, "champion": version}
    # The champion last: whatever stops this on the way, it stays.
    return {"challenger": version, "previous": champion, "champion": version}


def _told(
    registry: Registry, run: Any, version: str | None, champion: str | None, verdict: str, decision: Decision
) -> dict[str, Any]:
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
        "champion": champion,
        "look": decision.look,
        "comparisons": [asdict(found) for found in decision.comparisons],
    }


def show(decision: Decision) -> None:
    """The table of differences, where there is one."""
    if decision.comparisons:
        rows = (
            (
                found.metric if found.against == CHAMPION else f"{found.metric}, against {found.against}",
                "–" if found.champion is None else f"{found.champion:.2f}",
                f"{found.challenger:.2f}",
                "–" if found.difference is None else f"{found.difference:+.2f} [{found.low:+.2f}, {found.high:+.2f}]",
            )
            for found in decision.comparisons
        )
        console.table("In percent, differences with 95 % intervals", ("", "to beat", "challenger", "difference"), rows)


def rollback() -> dict[str, Any]:
    """Champion and previous change places; a second rollback undoes the first, and completes one that was stopped.

    Raises:
        UserError: there is no previous champion.
        TransientError: the server does not answer; the same command later goes on.
    """
    params = load_params()
    with _server("rollback the champion") as client:
        registry = Registry(client, params.track.experiment)
        aliases = registry.aliases()
        champion = aliases.get("champion")
        target = _way_back(registry, aliases)
        if target is None:
            raise UserError(
                f"model {registry.name} has no champion before the present one ({champion or 'none'}): nothing to go "
                "back to."
            )
        with registry.changing(champion):
            _roll_back(registry, champion, target)
        console.say(
            f"champion of model {registry.name} is version {target} again"
            + (f"; version {champion} is previous" if champion else "")
        )
        return {"model": registry.name, "champion": target, "previous": champion}


def _roll_back(registry: Registry, champion: str | None, target: str) -> None:
    changes: dict[Alias, str] = {"champion": target}
    if champion is not None:
        # Before an alias moves: whatever stops this, the mark says where it was to go, and that it is not promoted.
        registry.mark_rolled_back(champion, target)
        changes = {"previous": champion, "champion": target}
    registry.lift_rollback(target)
    registry.set_aliases(changes)


def _way_back(registry: Registry, aliases: dict[str, str]) -> str | None:
    """The version a rollback makes champion, if there is one."""
    champion, previous = aliases.get("champion"), aliases.get("previous")
    if champion is not None and champion == previous:
        # A rollback that was stopped between the two aliases.
        return registry.gave_way_to(champion)
    return previous
