"""The file of a sweep: which settings are varied and how, and the trials that follow from it."""

import difflib
import itertools
import json
import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline import console
from pipeline.errors import ParamsError
from pipeline.files import reaching
from pipeline.overrides import override_tree, written
from pipeline.params import MOST_PROBLEMS, PARAMS_FILE, Params, PathText, parse_params, validate_params
from pipeline.presets import preset_names, preset_text
from pipeline.strict_yaml import read_yaml, shorten

#: Metrics of a split of which more is better.
RANKING = re.compile(
    r"cls_top[15]|(gt_known|max_box_acc|max_box_acc_v2)_iou\d+|top[15]_loc_iou50|mean_iou|max_box_acc_v2|pxap"
)
#: Groups of params.yaml that no training depends on.
AFTER_TRAINING = ("extract_cams", "localize", "evaluate", "report")
#: Groups of params.yaml in which trials that are compared must agree, and why; rows of the DAG's sweep must as well.
COMMON = {
    "prepare": "are compared on the same images",
    "track": "are filed under one experiment",
    "promote": "are judged by the same rules",
}
#: More are a slip: nobody waits for them.
MOST_TRIALS = 10_000
#: Of drawn numbers.
SIGNIFICANT_DIGITS = 6
NOTHING_RUN = "Nothing was run or changed."


class _File(BaseModel):
    """The keys of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]*$", max_length=100)
    method: Literal["grid", "random"]
    trials: int | None = Field(default=None, ge=1, le=MOST_TRIALS)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    metric: str = "val.gt_known_iou50"
    base: PathText = str(PARAMS_FILE)
    space: dict[str, Any] = Field(min_length=1, max_length=100)


class Values(Protocol):
    """Where the values of one key come from."""

    def draw(self, u: float) -> Any:
        """The value at the quantile ``u`` in [0, 1)."""


@dataclass(frozen=True)
class Choices:
    """A list of values, all as likely."""

    values: tuple[Any, ...]

    def draw(self, u: float) -> Any:
        """One of them."""
        return self.values[int(u * len(self.values))]


@dataclass(frozen=True)
class Uniform:
    """Any number between two ends."""

    low: float
    high: float

    def draw(self, u: float) -> float:
        """A number of six significant digits."""
        return float(f"{self.low + (self.high - self.low) * u:.{SIGNIFICANT_DIGITS}g}")


@dataclass(frozen=True)
class LogUniform:
    """Any number between two ends above zero; every power of ten is as likely."""

    low: float
    high: float

    def draw(self, u: float) -> float:
        """A number of six significant digits."""
        return float(f"{self.low * (self.high / self.low) ** u:.{SIGNIFICANT_DIGITS}g}")


@dataclass(frozen=True)
class Trial:
    """One run of the pipeline.

    Attributes:
        number: from 1, in the order in which trials are run.
        overrides: values by dotted key, upon the sweep's base.
        params: all parameters.
    """

    number: int
    overrides: Mapping[str, Any]
    params: Params


@dataclass(frozen=True)
class Sweep:
    """A validated sweep.

    Attributes:
        name: of the sweep; workspaces and the MLflow run are named after it.
        source: the file it was read from.
        metric: what ranks, a number of ``metrics.json``'s ``val``, without ``val.``; more is better.
        base: text of the parameters file that every trial starts from.
        settings: the file's other settings by name, for people to read.
        keys: the dotted keys that are varied, in the order of the file.
        trials: all of them; those that share their training follow each other.
    """

    name: str
    source: Path
    metric: str
    base: str
    settings: Mapping[str, str]
    keys: tuple[str, ...]
    trials: tuple[Trial, ...]


def read_sweep(path: Path) -> Sweep:
    """Read a sweep and validate every trial of it.

    Raises:
        ParamsError: the file or its base is missing or wrong, or trials have invalid parameters; all of them named.
    """
    given = _read(path)
    text = _base(path, given.base)
    metric = _metric(path, given.metric)
    space = {key: _values(path, key, value) for key, value in given.space.items()}
    trials = _trials(path, read_yaml(text, given.base), _in_order(_draw(path, given, space)))
    _check_criterion(path, metric, trials)
    settings = {"method": given.method, "metric": given.metric, "base": given.base, "trials": str(len(trials))}
    settings |= {f"space.{key}": json.dumps(value) for key, value in given.space.items()}
    if given.method == "random":
        settings["seed"] = str(given.seed or 0)
    return Sweep(given.name, path, metric, text, settings, tuple(space), trials)


def _base(path: Path, base: str) -> str:
    """The text of the parameters file, or of the preset, that every trial starts from."""
    if base in preset_names():
        return preset_text(base, {})
    with reaching(f"{path}: base"):
        data = Path(base).read_bytes() if Path(base).is_file() else None
    if data is None:
        raise ParamsError(
            f"{path}: base: {Path(base).absolute()} does not exist, and no preset is called so. {NOTHING_RUN}"
        )
    parse_params(data, base)
    return data.decode()


def _read(path: Path) -> _File:
    try:
        text = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
        raise ParamsError(f"{shorten(str(path.absolute()), 200)} {shorten(reason, 200)}.") from None
    try:
        given = _File.model_validate(read_yaml(text, str(path)))
    except ValidationError as error:
        problems = "\n".join(f"  {_explain(e)}" for e in error.errors()[:MOST_PROBLEMS])
        raise ParamsError(f"{path} is not valid:\n{problems}\n{NOTHING_RUN}") from None
    if given.method == "random" and given.trials is None:
        raise ParamsError(f"{path}: trials: missing; a random search needs their number.")
    if given.method == "grid" and (given.trials, given.seed) != (None, None):
        raise ParamsError(f"{path}: trials and seed belong to method: random; a grid has one trial per combination.")
    return given


def _explain(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "the file"
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, _File.model_fields, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]}?" if near else f"valid keys are {', '.join(_File.model_fields)}."
        return f"{key}: unknown key; {hint}"
    return f"{key}: {error['msg']}" + (
        "." if error["type"] == "missing" else f", found {shorten(repr(error['input']))}."
    )


def _metric(path: Path, text: str) -> str:
    split, _, name = text.partition(".")
    where = f"{path}: metric: {shorten(text)}"
    if split == "test":
        raise ParamsError(
            f"{where} would choose settings by the images they are then judged on; rank by val.{shorten(name)}."
        )
    if split != "val" or not RANKING.fullmatch(name):
        raise ParamsError(
            f"{where} cannot rank trials; name an accuracy of val, such as val.gt_known_iou50, val.top1_loc_iou50, "
            "val.max_box_acc_v2, val.pxap or val.cls_top1."
        )
    return name


def _check_criterion(path: Path, metric: str, trials: Sequence[Trial]) -> None:
    """A metric at an IoU criterion needs that criterion in ``evaluate.iou``."""
    if found := re.fullmatch(r"(?:gt_known|max_box_acc|max_box_acc_v2)_iou(\d+)", metric):
        lacking = [t for t in trials if int(found[1]) not in [round(100 * iou) for iou in t.params.evaluate.iou]]
        if lacking:
            criteria = lacking[0].params.evaluate.iou
            raise ParamsError(f"{path}: metric: val.{metric} is not measured; evaluate.iou is {criteria}.")


def _values(path: Path, key: str, given: Any) -> Values:
    where = f"{path}: space.{key}"
    if reason := COMMON.get(key.split(".")[0]):
        raise ParamsError(f"{where}: all trials of a sweep {reason}; set it in the base, for all of them.")
    if isinstance(given, list):
        return _choices(where, given)
    kinds: dict[str, type[Uniform | LogUniform]] = {"uniform": Uniform, "log_uniform": LogUniform}
    if not (isinstance(given, dict) and len(given) == 1 and next(iter(given)) in kinds):
        raise ParamsError(f"{where}: give a list of values, {{uniform: [a, b]}} or {{log_uniform: [a, b]}}.")
    ((kind, ends),) = given.items()
    low, high = _ends(f"{where}.{kind}", ends)
    if kind == "log_uniform" and low <= 0:
        raise ParamsError(f"{where}.{kind}: both ends must be above 0, found {shorten(repr(ends))}.")
    return kinds[kind](low, high)


def _choices(where: str, given: list[Any]) -> Choices:
    if not given:
        raise ParamsError(f"{where}: the list is empty.")
    texts = [json.dumps(value, sort_keys=True, default=str) for value in given]
    text, times = Counter(texts).most_common(1)[0]
    if times > 1:
        raise ParamsError(f"{where}: {shorten(text)} stands twice.")
    return Choices(tuple(given))


def _ends(where: str, ends: Any) -> tuple[float, float]:
    numbers = isinstance(ends, list) and all(isinstance(e, int | float) and not isinstance(e, bool) for e in ends)
    if not numbers or len(ends) != 2 or not (math.isfinite(ends[0]) and ends[0] < ends[1] < math.inf):
        raise ParamsError(f"{where}: give two numbers, the smaller one first, found {shorten(repr(ends))}.")
    return float(ends[0]), float(ends[1])


def _draw(path: Path, given: _File, space: Mapping[str, Values]) -> list[dict[str, Any]]:
    lists = {key: values.values for key, values in space.items() if isinstance(values, Choices)}
    combinations = math.prod(len(values) for values in lists.values())
    if given.method == "random":
        wanted = given.trials or 0
        if len(lists) == len(space) and wanted > combinations:
            raise ParamsError(f"{path}: trials: {wanted}, but space has only {combinations} combinations; use a grid.")
        trials = list(itertools.islice(_random(space, given.seed or 0, wanted), wanted))
        if len(trials) < wanted:
            raise ParamsError(
                f"{path}: trials: {wanted}, but space has only {len(trials)} different ones, numbers having "
                f"{SIGNIFICANT_DIGITS} digits; ask for fewer, or widen it."
            )
        return trials
    if drawn := [key for key in space if key not in lists]:
        raise ParamsError(f"{path}: space.{drawn[0]}: a grid takes lists only; list values, or set method: random.")
    if combinations > MOST_TRIALS:
        raise ParamsError(f"{path}: space has {combinations} combinations; at most {MOST_TRIALS} are run.")
    return [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]


def _random(space: Mapping[str, Values], seed: int, wanted: int) -> Iterator[dict[str, Any]]:
    """Different trials; of the generator only what Python keeps the same in all versions is used.

    Ends where so many draws bring nothing new that all have been drawn: of W equally likely trials the last one is
    missed that often with a probability below e^-20.
    """
    generator = random.Random(seed)
    seen: set[str] = set()
    misses = 0
    while misses < 1000 + 20 * wanted:
        trial = {key: values.draw(generator.random()) for key, values in space.items()}
        text = json.dumps(trial, default=str)
        misses = misses + 1 if text in seen else 0
        if not misses:
            seen.add(text)
            yield trial


def _in_order(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Trials of the same training follow each other, so that it is still in place for the second one."""
    first: dict[str, int] = {}

    def training(trial: dict[str, Any]) -> int:
        own = {key: value for key, value in trial.items() if key.split(".")[0] not in AFTER_TRAINING}
        return first.setdefault(json.dumps(own, default=str), len(first))

    return sorted(trials, key=training)


def _trials(path: Path, base: dict[str, Any], drawn: list[dict[str, Any]]) -> tuple[Trial, ...]:
    trials, problems = [], []
    for number, overrides in enumerate(console.progress(drawn, len(drawn), "validate", "trials"), start=1):
        try:
            params = validate_params(override_tree(base, overrides), f"trial {number} ({written(overrides)})")
            trials.append(Trial(number, overrides, params))
        except ParamsError as error:
            problems.append(str(error).replace(NOTHING_RUN, "").strip().replace("\n", "\n  "))
    if problems:
        # A key that is wrong in the space is wrong in every trial.
        lines = "\n  ".join(_first(list(dict.fromkeys(problems))))
        raise ParamsError(f"{path}: {len(problems)} of {len(drawn)} trials are not valid:\n  {lines}\n{NOTHING_RUN}")
    return tuple(trials)


def _first(problems: list[str]) -> list[str]:
    more = len(problems) - MOST_PROBLEMS
    return problems[:MOST_PROBLEMS] + ([f"… and {more:,} more"] if more > 0 else [])
