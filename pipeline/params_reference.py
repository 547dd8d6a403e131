"""What the parameters' models say of each key, as files: the schema for editors and Airflow's form, and docs/params.md.

``python -m pipeline.params_reference`` writes both; a test holds them to what it makes.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.files import write_bytes
from pipeline.params import Params, parse_params
from pipeline.presets import DEFAULT, preset_text

SCHEMA_FILE = Path("pipeline/params.schema.json")
PAGE_FILE = Path("docs/params.md")
COMMAND = "python -m pipeline.params_reference"
_KINDS = {"boolean": "true or false", "integer": "whole number", "number": "number", "string": "text"}
_HEAD = f"""\
# params.yaml

<!-- Made by `{COMMAND}` from pipeline/params.py. -->

Every key is validated; an unknown one is an error that names the nearest valid key. Every number has bounds, which the
error states. What YAML 1.1 and 1.2 read differently (`010`, `yes`, `1:30`) is refused, as DVC and the stages would see
two values; anchors, tags and merge keys are not read. Editors with a YAML language server complete and check the file
by [the schema](../pipeline/params.schema.json).
"""


def schema() -> dict[str, Any]:
    """The JSON schema of ``params.yaml``: groups in place, each key with its default; run in the repository's root."""
    made = Params.model_json_schema()
    groups = made.pop("$defs")
    defaults = parse_params(preset_text(DEFAULT, {}), DEFAULT).model_dump(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_in_place(made, groups, defaults)}


def _in_place(node: Mapping[str, Any], groups: Mapping[str, Any], defaults: Any) -> dict[str, Any]:
    if "$ref" in node:
        node = groups[node["$ref"].rpartition("/")[2]]
    if "properties" not in node:
        return {**node, "default": defaults}
    keys = {name: _in_place(key, groups, defaults[name]) for name, key in node["properties"].items()}
    return {name: value for name, value in node.items() if name != "title"} | {"properties": keys}


def page(made: Mapping[str, Any]) -> str:
    """``docs/params.md``: a table for each group of a schema."""
    return "\n".join([_HEAD, *_tables(made, "")])


def _tables(group: Mapping[str, Any], prefix: str) -> Iterator[str]:
    keys = {name: key for name, key in group["properties"].items() if "properties" not in key}
    if prefix:
        yield f"## {prefix[:-1]}\n\n{group['description']}\n"
    if keys:
        rows = "\n".join(_row(f"{prefix}{name}", key) for name, key in keys.items())
        yield f"| key | default | values | meaning |\n|---|---|---|---|\n{rows}\n"
    for name, inner in group["properties"].items():
        if "properties" in inner:
            yield from _tables(inner, f"{prefix}{name}.")


def _row(key: str, node: Mapping[str, Any]) -> str:
    default = json.dumps(node["default"], ensure_ascii=False).strip('"')
    cells = (f"`{key}`", f"`{default}`", _values(node), f"**{node['title']}**: {node['description']}")
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _values(node: Mapping[str, Any]) -> str:
    """What a key takes, in words; bounds as an interval."""
    if "const" in node:
        return f"`{node['const']}`"
    if "enum" in node:
        return ", ".join(f"`{choice}`" for choice in node["enum"])
    if "anyOf" in node:
        return " or ".join(map(_values, node["anyOf"]))
    if node["type"] == "array":
        return f"list: {_values(node['items'])}"
    lower, upper = _bound(node, "inimum"), _bound(node, "aximum")
    return _KINDS[node["type"]] + (f" in {'[('[lower[1]]}{lower[0]}, {upper[0]}{'])'[upper[1]]}" if lower[0] else "")


def _bound(node: Mapping[str, Any], name: str) -> tuple[str, bool]:
    """A bound as text, empty where there is none, and whether it is itself left out."""
    open_bound = node.get(f"exclusiveM{name}")
    bound = node.get(f"m{name}") if open_bound is None else open_bound
    return ("" if bound is None else f"{bound:,.10g}" if bound < 1e15 else "2⁶³"), open_bound is not None


def files() -> dict[Path, str]:
    """Both files and what belongs into them."""
    made = schema()
    return {SCHEMA_FILE: json.dumps(made, indent=1, ensure_ascii=False) + "\n", PAGE_FILE: page(made)}


if __name__ == "__main__":
    for path, text in files().items():
        write_bytes(path, text.encode())
