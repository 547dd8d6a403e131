"""The rows of a sweep, as the trigger form gives them."""

import json
from collections.abc import Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowFailException


def rows_of(values: Mapping[str, Any]) -> list[str]:
    """One JSON object of settings per row: every λ alone, then the other rows as they stand, none twice.

    Raises:
        AirflowFailException: there is no row, or one is no mapping from dotted keys to values.
    """
    rows: list[Any] = [{"train.lambda": float(value)} for value in values["lambdas"]]
    rows += [json.loads(row) if isinstance(row, str) else row for row in values["rows"]]
    if wrong := [row for row in rows if not isinstance(row, Mapping) or not row]:
        raise AirflowFailException(
            f'{wrong[0]!r} is no row: write settings by dotted key, for example {{"train.lambda": 0.01, "seed": 1}}.'
        )
    if not rows:
        raise AirflowFailException("the sweep has no row: give values of λ, or rows of settings.")
    return list(dict.fromkeys(json.dumps(row, sort_keys=True) for row in rows))
