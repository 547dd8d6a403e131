"""Values written into ``params.yaml`` by dotted key, its comments and layout kept."""

import difflib
import io
import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from decimal import Decimal
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from pipeline.errors import ParamsError
from pipeline.strict_yaml import is_plain, read_yaml, shorten

#: What errors call the text that values are written into.
PARAMS_TEXT = "params.yaml"


def override(text: str, overrides: Mapping[str, Any]) -> str:
    """The text of a parameters file with other values, for example ``{"train.lambda": 0.01}``.

    Raises:
        ParamsError: a key is not in the file, or names a group.
    """
    read_yaml(text, PARAMS_TEXT)  # refuses what would keep the other reader busy
    yaml, buffer = _yaml(), io.StringIO()
    tree = yaml.load(text)
    if not isinstance(tree, Mapping):
        raise ParamsError(f"{PARAMS_TEXT} must hold groups of keys, found {type(tree).__name__}.")
    _check_keys(tree, overrides)
    for key, value in overrides.items():
        group, name = _place(tree, key)
        if type(group[name]) is not type(value) or group[name] != value:
            group[name] = _node(value)
    yaml.dump(tree, buffer)
    return buffer.getvalue() if overrides else text


def override_tree(tree: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """What the text of :func:`override` holds, a hundred times faster: a copy of what a file holds, with other values.

    Raises:
        ParamsError: a key is not in the file, or names a group.
    """
    _check_keys(tree, overrides)
    copy = deepcopy(dict(tree))
    for key, value in overrides.items():
        group, name = _place(copy, key)
        group[name] = value
    return copy


def _check_keys(tree: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    keys = list(_keys(tree))
    for key in overrides:
        if key not in keys:
            raise ParamsError(f"{shorten(key)}: unknown key; {_hint(key, keys)} Nothing was run or changed.")


def _place(tree: Any, key: str) -> tuple[Any, str]:
    """The group that a dotted key stands in, and its name there."""
    *groups, name = key.split(".")
    for part in groups:
        tree = tree[part]
    return tree, name


def parse_assignment(text: str) -> tuple[str, Any]:
    """``KEY=VALUE`` as a dotted key and its value, which is read as YAML, as if typed into the file.

    Raises:
        ParamsError: there is no ``=``.
    """
    key, separator, value = text.partition("=")
    if not separator:
        raise ParamsError(f"{shorten(text)!r} sets nothing; write KEY=VALUE, for example train.lambda=0.01.")
    return key.strip(), read_yaml(value, f"the value of {shorten(key.strip())}")


def written(overrides: Mapping[str, Any]) -> str:
    """Overrides as a user writes them: ``train.lambda=0.01, seed=1``."""
    return ", ".join(f"{shorten(key)}={shorten(str(value))}" for key, value in overrides.items())


def parse_values(text: str) -> dict[str, Any]:
    """Values by dotted key from a JSON object.

    Raises:
        ParamsError: it is not one.
    """
    try:
        values = json.loads(text, parse_constant=_refuse)
        read_yaml(text, "the values")  # JSON is YAML: the same limits hold
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise ParamsError(f'{shorten(text)!r} is not a JSON object; write for example {{"train.lambda": 0.01}}.')
    return values


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity, which JSON does not have


def value_of(text: str, key: str) -> Any:
    """The value of a dotted key in the text of a parameters file; None where it is missing."""
    node = read_yaml(text, PARAMS_TEXT)
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    return yaml


def _keys(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in tree.items():
        # A name with a dot in it is not a key of the parameters, and a dotted key would not find it.
        if "." in name:
            continue
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _hint(key: str, keys: list[str]) -> str:
    if group := [k for k in keys if k.startswith(f"{key}.")]:
        return f"it is a group; name one of {', '.join(group)}."
    near = difflib.get_close_matches(shorten(key), keys, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"valid keys are {', '.join(keys)}."


def _node(value: Any) -> Any:
    """A value as the file shows it: lists in one line, floats without an exponent (YAML 1.1 reads 1e-05 as text).

    Texts that a reader would take for something else stand in quotes.
    """
    if isinstance(value, str):
        return value if is_plain(value) else DoubleQuotedScalarString(value)
    if isinstance(value, float):
        return YAML().load(f"{Decimal(repr(value)):f}")
    if isinstance(value, list):
        items = CommentedSeq(_node(item) for item in value)
        items.fa.set_flow_style()
        return items
    return value
