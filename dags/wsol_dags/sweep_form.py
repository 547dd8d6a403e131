"""The rows of a sweep, as the trigger form gives them."""

import json
from collections.abc import Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

#: Groups of params.yaml in which rows that are compared must agree, and why; `python -m pipeline sweep` has them too.
COMMON = {
    "prepare": "are compared on the same images",
    "track": "are filed under one experiment",
    "promote": "are judged by the same rules",
}
#: Airflow maps a task over 1024 values at most, and would say so without naming the form.
MOST_ROWS = 1000


def rows_of(values: Mapping[str, Any]) -> list[str]:
    """One JSON object of settings per row: every λ alone, then the other rows as they stand, none twice.

    Raises:
        AirflowFailException: there is no row, or too many, or one is no mapping from dotted keys to values, or sets a
            key in which all must agree.
    """
    rows = [{"train.lambda": float(value)} for value in values["lambdas"]] + [_row(row) for row in values["rows"]]
    if not rows:
        raise AirflowFailException("the sweep has no row: give values of λ, or rows of settings.")
    different = list(dict.fromkeys(json.dumps(row, sort_keys=True) for row in rows))
    if len(different) > MOST_ROWS:
        raise AirflowFailException(f"the sweep has {len(different)} rows; at most {MOST_ROWS} are run.")
    return different


def _row(given: Any) -> dict[str, Any]:
    row = _parse(given) if isinstance(given, str) else given
    if not isinstance(row, Mapping) or not row:
        raise AirflowFailException(
            f'{given!r} is no row: write settings by dotted key, for example {{"train.lambda": 0.01, "seed": 1}}.'
        )
    for key in row:
        if reason := COMMON.get(key.split(".")[0]):
            raise AirflowFailException(f"{key}: all rows of a sweep {reason}; set it in params.yaml, for all of them.")
    return dict(row)


def _parse(text: str) -> Any:
    """The page hands over rows as texts."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
