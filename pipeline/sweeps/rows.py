"""The MLflow side of a sweep whose rows run elsewhere, as tasks of a DAG: a parent run, its children, the best on val.

``open`` makes the parent, ``add`` puts the result of the working folder under it, ``close`` compares. All three may be
run again.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline import console
from pipeline.errors import UserError, WsolError
from pipeline.params import load_params
from pipeline.tracking import server, views
from pipeline.tracking.provenance import read_result
from pipeline.tracking.registry import find_run, get_run
from pipeline.tracking.runs import entry_command
from pipeline.tracking.tags import BEST_OF, BEST_RUN, NOTE, PARENT, SWEEP_KEY


def open_sweep(name: str) -> dict[str, Any]:
    """Find or make the parent run of a sweep."""
    with _server() as client:
        views.arrange(client, _home(client))
        return {"run_id": _parent(client, name).info.run_id}


def add_row(name: str) -> dict[str, Any]:
    """Put the result in the working folder under the parent run.

    Raises:
        UserError: the result was not tracked.
    """
    experiment, result = load_params().track.experiment, read_result()
    with _server() as client:
        run = find_run(client, experiment, result.run_key, result.training.train_key)
        if run is None:
            raise UserError("the result in this folder has no row in MLflow. Run `python -m pipeline track` first.")
        client.set_tag(run.info.run_id, PARENT, _parent(client, name).info.run_id)
        return {"run_id": run.info.run_id}


def close_sweep(name: str, run_ids: Sequence[str], expected: int) -> dict[str, Any]:
    """Rank the rows by the primary metric on val, mark the best, and end the parent run.

    Args:
        run_ids: of the rows that came to an end; the same result may stand there more than once.
        expected: how many rows there were.

    Raises:
        WsolError: rows are missing, after the others have been compared.
        UserError: there is nothing to compare, a row is not in MLflow, or has no such metric; the parent run has failed
            then. Or more rows came to an end than there were.
    """
    if expected < len(run_ids):
        raise UserError(f"{len(run_ids)} rows came to an end, so there cannot have been {expected}.")
    metric = f"val/{load_params().promote.metric.partition('.')[2]}"
    with _server() as client:
        parent = _find_parent(client, name)
        if parent is None:
            raise UserError(f"the sweep {name} was not opened: there is nothing to compare. See its tasks.")
        with _failing(client, parent):
            ranked = _ranked([get_run(client, run_id) for run_id in dict.fromkeys(run_ids)], metric)
        best = ranked[0]
        for run in ranked:
            if run.data.tags.get(BEST_OF) == name and run is not best:
                client.delete_tag(run.info.run_id, BEST_OF)
        client.set_tag(best.info.run_id, BEST_OF, name)
        columns, table = _table(ranked, metric)
        _record(client, parent, metric, best, columns, table)
        failed = expected - len(run_ids)
        client.set_terminated(parent.info.run_id, "FAILED" if failed else "FINISHED")
    console.table(f"{name}, best on val first", columns, table)
    if failed:
        raise WsolError(
            f"{failed} of {expected} rows did not come to an end; the others are compared. See their tasks."
        )
    enter = entry_command(best.info.run_id)
    console.say(f"To enter the best on val against the champion: {enter}")
    figures = {metric: best.data.metrics[metric], "promote": enter}
    return {"run_id": parent.info.run_id, "best": best.info.run_id, **figures}


def _ranked(runs: Sequence[Any], metric: str) -> list[Any]:
    if not runs:
        raise UserError("no row came to an end: there is nothing to compare. See their tasks.")
    if missing := [run.info.run_id for run in runs if metric not in run.data.metrics]:
        raise UserError(f"runs {', '.join(missing)} have no {metric}; set another promote.metric in params.yaml.")
    return sorted(runs, key=lambda run: -run.data.metrics[metric])


def _table(ranked: Sequence[Any], metric: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The run, the parameters in which the rows differ, and the metric on val and test."""
    params = [run.data.params for run in ranked]
    varied = sorted(key for key in params[0] if len({values.get(key) for values in params}) > 1)
    metrics = (metric, metric.replace("val/", "test/"))
    rows = [
        (
            run.info.run_id,
            *(run.data.params.get(key, "") for key in varied),
            *(f"{run.data.metrics[name]:.2f}" if name in run.data.metrics else "–" for name in metrics),
        )
        for run in ranked
    ]
    return ("run", *varied, *metrics), rows


def _record(client: Any, parent: Any, metric: str, best: Any, columns: Sequence[str], table: Sequence[Any]) -> None:
    run_id = parent.info.run_id
    lines = [columns, ["---"] * len(columns), *table]
    client.set_tag(run_id, NOTE, "\n".join(f"| {' | '.join(line)} |" for line in lines))
    client.log_text(run_id, _csv([columns, *table]), "ranking.csv")
    client.set_tag(run_id, BEST_RUN, best.info.run_id)
    for name in (metric, metric.replace("val/", "test/")):
        if name in best.data.metrics:
            client.log_metric(run_id, f"best/{name}", best.data.metrics[name])


def _csv(lines: Iterable[Iterable[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _parent(client: Any, name: str) -> Any:
    return _find_parent(client, name) or client.create_run(_home(client), tags={SWEEP_KEY: name}, run_name=name)


def _find_parent(client: Any, name: str) -> Any:
    """None where the sweep was not opened."""
    found = list(client.search_runs([_home(client)], f"tags.`{SWEEP_KEY}` = '{_quoted(name)}'"))
    return found[0] if found else None


def _home(client: Any) -> str:
    return server.experiment_id(client, load_params().track.experiment)


@contextmanager
def _failing(client: Any, parent: Any) -> Iterator[None]:
    """End the parent run, which would be shown at work for ever, where its rows cannot be compared."""
    try:
        yield
    except UserError:
        client.set_terminated(parent.info.run_id, "FAILED")
        raise


def _quoted(name: str) -> str:
    if "'" in name:
        raise UserError(f"{name!r}: the name of a sweep must not hold a quote.")
    return name


@contextmanager
def _server() -> Iterator[Any]:
    with (
        server.clear_errors("record the sweep", "python -m pipeline rows"),
        server.patience(*server.TRACK_PATIENCE),
    ):
        yield server.client()


def run_ids_of(answers: str) -> list[str]:
    """The runs that ``add`` named, from a JSON list of its answers; what is no answer is left out.

    Raises:
        UserError: it is no list.
    """
    try:
        found = json.loads(answers)
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise UserError(f'{answers!r} is no JSON list of what `rows add` printed, such as [{{"run_id": "…"}}].')
    return [answer["run_id"] for answer in found if isinstance(answer, Mapping) and "run_id" in answer]
