"""The trigger form: one field per key of ``params.yaml``, with its default and its comment."""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowFailException
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

_TYPES: Mapping[type, str] = {bool: "boolean", int: "integer", float: "number", list: "array"}
#: A field whose comment lists alternatives may hold text or a number: it is a text field, read as YAML.
_ALTERNATIVES = " | "
#: Texts that are read; longer ones are no value of any key.
_LONGEST = 1000
#: A number that YAML 1.1 and 1.2 take for the same; ``010`` they do not.
_NUMBER = re.compile(r"[-+]?(?=\.?[0-9])(0|[1-9][0-9]{0,39})?(\.[0-9]*)?([eE][-+]?[0-9]{1,3})?")
#: A list of plain values: nothing nested, quoted or named.
_FLAT_LIST = re.compile(r"\[[^\[\]{}&*!\"'#\n]*\]")
_MORE_THAN_A_VALUE = tuple("[{&*!?%|>@`")


def form_of(checkout: Path) -> dict[str, Param]:
    """Fields by dotted key; each group of ``params.yaml`` is a section."""
    tree = YAML(pure=True).load((checkout / "params.yaml").read_text())
    return {key: _field(key, value, comment) for key, value, comment in _entries(tree)}


def overrides(form: Mapping[str, Param], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that differ from what ``params.yaml`` holds, as text is read there."""
    parsed = {key: _parse(values[key]) for key in form if key in values}
    return {key: value for key, value in parsed.items() if not _same(value, _parse(form[key].value))}


def refuse_unknown_keys(context: Mapping[str, Any]) -> None:
    """Airflow's API takes any key and ignores those that are no field: a misspelt one would leave the default.

    Args:
        context: Airflow's, of a task.

    Raises:
        AirflowFailException: the run was triggered with a key that is no field of its DAG's form.
    """
    fields = list(context["dag"].params)
    for key in context["dag_run"].conf or {}:
        if key not in fields:
            raise AirflowFailException(f"{key}: unknown key; {_hint(key, fields)} Nothing was run or changed.")


def _hint(key: str, fields: list[str]) -> str:
    if group := [field for field in fields if field.startswith(f"{key}.")]:
        return f"it is a group; name one of {', '.join(group)}."
    near = difflib.get_close_matches(key, fields, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"valid keys are {', '.join(fields)}."


def _entries(tree: CommentedMap, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    for name, value in tree.items():
        if isinstance(value, CommentedMap):
            yield from _entries(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value, _comment(tree, name)


def _comment(group: CommentedMap, name: str) -> str:
    """The comment on the line of a key."""
    tokens = [token for token in group.ca.items.get(name, []) if token]
    return tokens[0].value.split("\n")[0].lstrip("# ").strip() if tokens else ""


def _field(key: str, value: Any, comment: str) -> Param:
    section = key.rpartition(".")[0] or "general"
    described: dict[str, Any] = {"title": key, "description": comment, "section": section}
    if value is None:
        # Wrong in params.yaml, which the run's check says; a form that cannot be built would hide it.
        return Param(None, type=["null", "string", "number", "boolean"], **described)
    if _ALTERNATIVES in comment or type(value) is str:
        text = str(value).lower() if isinstance(value, bool) else str(value)
        return Param(text, type=["string", "number", "boolean"], **described)
    return Param(_plain(value), type=next(t for kind, t in _TYPES.items() if isinstance(value, kind)), **described)


def _plain(value: Any) -> Any:
    """Without ruamel's subclasses, which Airflow cannot serialize."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    return value


def _parse(value: Any) -> Any:
    """The page hands over the lines of a list as texts.

    What is not a value there, or not the same to all YAML readers, stays the text it is: the command that gets it names
    the key and refuses it, where the key does not take texts.
    """
    if isinstance(value, list):
        return [_parse(item) for item in value]
    if not isinstance(value, str) or len(value) > _LONGEST:
        return value
    text = value.strip()
    if _FLAT_LIST.fullmatch(text):
        return [_parse(item.strip()) for item in text[1:-1].split(",") if text[1:-1].strip()]
    if text.startswith(_MORE_THAN_A_VALUE) or "\n" in text:
        # No key takes a mapping, and what is nested or named may be far larger than its text.
        return value
    try:
        read = YAML(typ="safe", pure=True).load(value)
    except (YAMLError, ValueError, RecursionError, TypeError):
        return value
    if isinstance(read, int | float) and not isinstance(read, bool):
        return read if _NUMBER.fullmatch(text) else value
    return read if read is None or isinstance(read, str | bool) else value


def _same(left: Any, right: Any) -> bool:
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)
