"""``dvc.yaml`` as tasks: the stages, their edges, documentation and limits. Nobody writes the graph twice."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import yaml


@dataclass(frozen=True)
class Stage:
    """One stage of ``dvc.yaml``.

    Attributes:
        upstream: names of the stages whose outputs it reads.
        desc: what it does, one line.
        timeout: how long one attempt may take; None for any time.
        retries: how often a transient fault is tried again.
        gpus: how many GPUs it needs.
        identity: whose account and secrets it gets, if any: a stage that reads foreign files has none.
        fetches_weights: whether it downloads pretrained weights, where params.yaml asks for them.
    """

    name: str
    upstream: tuple[str, ...]
    desc: str
    timeout: timedelta | None
    retries: int
    gpus: int
    identity: str = ""
    fetches_weights: bool = False


def read_stages(checkout: Path) -> list[Stage]:
    """The stages of a checkout in the order of ``dvc.yaml``."""
    params = yaml.safe_load((checkout / "params.yaml").read_text())
    stages = yaml.safe_load((checkout / "dvc.yaml").read_text())["stages"]
    outs = {name: _paths(_outs(stage), params) for name, stage in stages.items()}
    return [_stage(name, stage, outs, params) for name, stage in stages.items()]


def _stage(name: str, stage: Mapping[str, Any], outs: Mapping[str, list[PurePosixPath]], params: Any) -> Stage:
    deps = _paths(stage.get("deps", []), params)
    upstream = tuple(other for other, paths in outs.items() if other != name and _overlap(deps, paths))
    meta = stage.get("meta", {})
    minutes = meta.get("timeout_minutes")
    return Stage(
        name=name,
        upstream=upstream,
        desc=stage.get("desc", ""),
        timeout=timedelta(minutes=minutes) if minutes else None,
        retries=meta.get("retries", 0),
        gpus=meta.get("gpus", 0),
        identity=meta.get("identity", ""),
        fetches_weights=meta.get("fetches_weights", False),
    )


def _outs(stage: Mapping[str, Any]) -> Iterator[Any]:
    """Metrics and plots of a stage are outputs like any other."""
    for kind in ("outs", "metrics", "plots"):
        yield from stage.get(kind, [])


def _paths(entries: Iterable[Any], params: Any) -> list[PurePosixPath]:
    """An entry is a path, or a mapping from a path to its settings."""
    texts = (next(iter(entry)) if isinstance(entry, Mapping) else entry for entry in entries)
    return [PurePosixPath(re.sub(r"\$\{([\w.]+)\}", lambda key: str(_value(params, key[1])), text)) for text in texts]


def _value(params: Any, key: str) -> Any:
    for part in key.split("."):
        params = params[part]
    return params


def _overlap(deps: Iterable[PurePosixPath], outs: Iterable[PurePosixPath]) -> bool:
    """Whether a dependency is an output, lies in one or contains one; DVC's rule."""
    return any(dep.is_relative_to(out) or out.is_relative_to(dep) for out in outs for dep in deps)
