"""The trigger form: one field per key of ``params.yaml``; what a field is, ``pipeline/params.schema.json`` says.

How Airflow's page (3.3) shows a field follows from its schema: ``enum`` is a drop-down; a list with ``examples`` is a
choice of several, and one of anything but texts an editor of JSON; a text with ``examples`` is one line with
suggestions, where without them one of several types would be a box of six lines. Fields without a section stand in the
first group, the only open one.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

#: What people change most; it is in view when the form opens.
FIRST = (
    "train.lambda", "train.epochs", "extract_cams.method", "extract_cams.clamp_negative_weights", "localize.threshold",
)  # fmt: skip
#: Of a key's schema, what Airflow's page and its check of what is triggered know too.
_LIMITS = ("enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_ANYTHING = ["null", "string", "number", "boolean", "array", "object"]
#: Texts that are read; longer ones are no value of any key.
_LONGEST = 1000
#: A number that YAML 1.1 and 1.2 take for the same; ``010`` they do not.
_NUMBER = re.compile(r"[-+]?(?=\.?[0-9])(0|[1-9][0-9]{0,39})?(\.[0-9]*)?([eE][-+]?[0-9]{1,3})?")
#: A list of plain values: nothing nested, quoted or named.
_FLAT_LIST = re.compile(r"\[[^\[\]{}&*!\"'#\n]*\]")
_MORE_THAN_A_VALUE = tuple("[{&*!?%|>@`")


def form_of(checkout: Path) -> dict[str, Param]:
    """Fields by dotted key, those of :data:`FIRST` before the others; each group of ``params.yaml`` is a section."""
    values = YAML(typ="safe", pure=True).load((checkout / "params.yaml").read_text(encoding="utf-8"))
    nodes = dict(_nodes(json.loads((checkout / "pipeline/params.schema.json").read_text(encoding="utf-8"))))
    fields = {key: _field(key, value, nodes.get(key, {})) for key, value in _entries(values)}
    return {key: fields[key] for key in FIRST if key in fields} | fields


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


def _entries(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _entries(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _nodes(group: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The schema of each key."""
    for name, node in group["properties"].items():
        if "properties" in node:
            yield from _nodes(node, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", node


def _field(key: str, value: Any, node: Mapping[str, Any]) -> Param:
    described = {"title": node.get("title", key), "description": f"{key}: {node.get('description', 'not a known key')}"}
    if key not in FIRST:
        described["section"] = key.rpartition(".")[0] or "general"
    try:
        field = _fitting(value, node, described)
        field.resolve()
    except (ParamValidationError, KeyError):
        # Wrong in params.yaml, or newer than the schema: the run's check says which. Without a form nothing would.
        return Param(json.loads(json.dumps(value, default=str)), type=_ANYTHING, **described)
    return field


def _fitting(value: Any, node: Mapping[str, Any], described: Mapping[str, Any]) -> Param:
    """The field that suits what a key takes; KeyError where nothing is known of it."""
    examples = [_text(example) for example in node.get("examples", ())]
    if "anyOf" in node:
        kinds = {kind["type"] for kind in node["anyOf"]} - {"string"}
        return Param(_text(value), type=["string", *sorted(kinds)], examples=examples, **described)
    if node["type"] == "array" and examples and isinstance(value, list):
        items = {"type": sorted({"string", node["items"]["type"]})}
        return Param([_text(item) for item in value], type="array", items=items, examples=examples, **described)
    if node["type"] == "array":
        return Param(value, type="array", items={"type": [node["items"]["type"]]}, **described)
    limits: dict[str, Any] = {name: node[name] for name in _LIMITS if name in node}
    if examples:
        limits["examples"] = examples
    return Param(value, type=node["type"], **limits, **described)


def _text(value: Any) -> str:
    """A value as it is written in ``params.yaml``."""
    return value if isinstance(value, str) else json.dumps(value)


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
