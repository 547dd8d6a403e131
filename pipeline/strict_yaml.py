"""YAML in which every reader sees the same values: DVC reads 1.2 (ruamel), much else 1.1 (PyYAML).

What the two read differently (``010``, ``yes``, ``1:30``) is refused by name, and so is what settings have no use for
and what makes a reader slow: anchors, tags, merge keys, deep nesting, very long texts.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.resolver import implicit_resolvers

from pipeline.errors import ParamsError

#: Far above what any file of settings needs; with them a file is read in less than a second.
MOST_CHARACTERS, MOST_VALUES, DEEPEST, LONGEST_KEY = 200_000, 5_000, 20, 100
#: The same of files that other programs wrote.
MOST_FOREIGN, DEEPEST_FOREIGN = 2_000_000, 50
#: Numbers and words that are the same in YAML 1.1, 1.2 and JSON, but for 1e-4, which DVC takes for a number too.
_WORDS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
          "null": None, "Null": None, "NULL": None, "~": None, "": None}  # fmt: skip
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,39})")
_FLOAT = re.compile(r"[-+]?(?=\.?[0-9])(0|[1-9][0-9]{0,39})?(\.[0-9]{0,400})?([eE][-+]?[0-9]{1,4})?")
#: What is more than text for either reader.
_SPECIAL = [expression for versions, _, expression, _ in implicit_resolvers if (1, 2) in versions] + [
    expression for rows in yaml.SafeLoader.yaml_implicit_resolvers.values() for _, expression in rows
]
_BROKEN = (yaml.YAMLError, YAMLError, ValueError, OverflowError, RecursionError, TypeError, KeyError)


def read_yaml(text: str | bytes, source: str) -> Any:
    """The value of a YAML text: mappings with text keys, lists, texts, numbers, true, false and null.

    Args:
        text: of one document; bytes are UTF-8.
        source: names it in errors.

    Raises:
        ParamsError: it is not YAML, too large, or not the same to all readers; the line and key are named.
    """
    if isinstance(text, bytes):
        text = _decoded(text, source)
    if len(text) > MOST_CHARACTERS:
        raise ParamsError(f"{source} has {len(text):,} characters; at most {MOST_CHARACTERS:,} are read.")
    if text.startswith("\ufeff"):
        raise ParamsError(f"{source} is not valid YAML here: it starts with a byte order mark; save it without.")
    try:
        value = _Reader(text, source).document()
        elsewhere = YAML(typ="safe", pure=True).load(text)
    except _BROKEN as error:
        raise ParamsError(f"{source} is not valid YAML: {shorten(str(error) or type(error).__name__, 500)}") from None
    if not _equal(value, elsewhere):
        raise ParamsError(f"{source} is read differently by YAML 1.1 and 1.2; write texts in quotes, on one line.")
    return value


def read_plain(text: str) -> Any:
    """The value of a YAML text that another program wrote, as DVC does its lock file: what JSON has, and nothing else.

    Raises:
        ValueError: it is not YAML, or is too large or too deep, or has dates, binary data, or keys that are not texts.
    """
    if len(text) > MOST_FOREIGN:
        raise ValueError(f"{len(text):,} characters; at most {MOST_FOREIGN:,} are read")
    try:
        value = yaml.safe_load(text)
    except RecursionError:
        raise ValueError(f"more than {DEEPEST_FOREIGN} levels are not read") from None
    except (*_BROKEN, AttributeError) as error:
        raise ValueError(shorten(" ".join(str(error).split()) or type(error).__name__, 500)) from None
    _check_plain(value)
    return value


def _check_plain(value: Any) -> None:
    """Aliases are followed each time, as whoever writes the value out would follow them."""
    pending, seen = [(value, "", 0)], 0
    while pending:
        node, place, depth = pending.pop()
        seen += 1
        if seen > MOST_FOREIGN or depth > DEEPEST_FOREIGN:
            limit = f"{MOST_FOREIGN:,} values" if seen > MOST_FOREIGN else f"{DEEPEST_FOREIGN} levels"
            raise ValueError(f"{shorten(place)}: more than {limit} are not read")
        if isinstance(node, dict):
            if odd := [key for key in node if not isinstance(key, str)]:
                raise ValueError(f"{shorten(place or 'its content')}: {shorten(repr(odd[0]))} is not a text, and a key")
            pending += [(item, f"{place}.{key}".removeprefix("."), depth + 1) for key, item in node.items()]
        elif isinstance(node, list):
            pending += [(item, f"{place}.{number}".removeprefix("."), depth + 1) for number, item in enumerate(node)]
        elif not isinstance(node, str | int | float | None) or (isinstance(node, int) and node.bit_length() > 128):
            raise ValueError(f"{shorten(place)}: {shorten(repr(node))} is not a text, a number, true, false or null")


def is_plain(text: str) -> bool:
    """Whether a text that stands without quotes is that text for every reader."""
    return text not in _WORDS and not any(expression.match(text) for expression in _SPECIAL)


def shorten(text: str, most: int = 80) -> str:
    """A text as an error shows it."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def _decoded(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ParamsError(f"{source} is not valid YAML: not UTF-8 at byte {error.start}.") from None


class _Reader:
    """Builds the value from PyYAML's events, which it gives one by one, before anything is large."""

    def __init__(self, text: str, source: str) -> None:
        self.source, self.values = source, 0
        self.events: Iterator[Any] = iter(yaml.parse(text, Loader=yaml.SafeLoader))
        self.path: list[str] = []

    def document(self) -> Any:
        """The only document."""
        next(self.events)  # the stream's start
        start = next(self.events)
        if isinstance(start, yaml.StreamEndEvent):
            return None
        if start.version or start.tags:
            raise self._refusal(start, "directives such as %YAML are not read")
        value = self._value(next(self.events))
        next(self.events)  # the document's end
        if not isinstance(more := next(self.events), yaml.StreamEndEvent):
            raise self._refusal(more, "a second document starts here; one is read")
        return value

    def _value(self, event: Any) -> Any:
        self.values += 1
        if self.values > MOST_VALUES or len(self.path) > DEEPEST:
            limit = f"{MOST_VALUES:,} values" if self.values > MOST_VALUES else f"{DEEPEST} levels"
            raise self._refusal(event, f"more than {limit} are not read")
        if isinstance(event, yaml.AliasEvent) or event.anchor:
            raise self._refusal(event, "anchors and aliases (& and *) are not read; write the value out")
        if event.tag:
            raise self._refusal(event, f"tags such as {shorten(event.tag)} are not read; write the value alone")
        match event:
            case yaml.MappingStartEvent():
                return self._mapping()
            case yaml.SequenceStartEvent():
                return self._list()
        return self._scalar(event)

    def _mapping(self) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._key(event)
            if key in mapping:
                raise self._refusal(event, f"key {key} stands twice")
            self.path.append(key)
            mapping[key] = self._value(next(self.events))
            self.path.pop()
        return mapping

    def _key(self, event: Any) -> str:
        key = self._value(event)
        if not isinstance(key, str) or len(key) > LONGEST_KEY:
            raise self._refusal(
                event, f"{shorten(repr(key))} is not a key: keys are texts of up to {LONGEST_KEY} letters"
            )
        return key

    def _list(self) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            self.path.append(str(len(items)))
            items.append(self._value(event))
            self.path.pop()
        return items

    def _scalar(self, event: Any) -> Any:
        text = str(event.value)
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise self._refusal(event, "half a character (a surrogate) is not text")
        if not event.implicit[0]:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text) and math.isfinite(number := float(text)):
            return number
        if is_plain(text):
            return text
        raise self._refusal(
            event,
            f"{shorten(text)} is not the same to all YAML readers, or not a value here; write a number in decimal "
            "digits, true or false, or a text in quotes",
        )

    def _refusal(self, event: Any, reason: str) -> ParamsError:
        key = f"{shorten('.'.join(self.path))}: " if self.path else ""
        return ParamsError(f"{self.source}, line {event.start_mark.line + 1}: {key}{reason}.")


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return type(left) is type(right) and bool(left == right)
