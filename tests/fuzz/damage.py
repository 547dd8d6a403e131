"""Strategies that damage a file: its bytes anywhere, or what its format holds at one place."""

import copy
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from hypothesis import strategies as st

#: What readers of text and of numbers have stumbled over; most are words that mean something to one of them.
TOKENS = [
    b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n\n", b"\t", b"'", b'"', b",", b";", b":", b"- ", b"{", b"[",
    b"}", b"]", b"#", b"%", b"&a ", b"*a", b"<<: ", b"!!python/object/apply:os.abort []", b"!!int abc", b"? ", b"|",
    b"---\n", b"null", b"true", b"no", b"nan", b".nan", b".inf", b"Infinity", b"-0", b"-1", b"0x1F", b"0b_", b"1_000",
    b"010", b"1e999", b"1e-320", b"2026-13-45", b"12:30:45", b"9" * 5000, b"[" * 2000,
    b"../../etc", b"/dev/zero", "é\u2028😀".encode(),
    b"\xed\xa0\x80", b"<script>", b"=1+1", b"${HOME}", b"%(a)s",
]  # fmt: skip
#: Values that stand for their kind in a tree, a table or an array.
VALUES = [
    None, True, False, -1, 0, 1, 2**31, 2**63, 10**30, -0.5, 1e308, 5e-324, math.nan, math.inf, "", "a", "1",
    "é\u2028😀", "\0", "../../x", "/dev/zero", "x" * 300, "x" * 100_000, "<b>&amp;", [], {}, [[]], [1, "a"], {"a": 1},
    {"": None},
]  # fmt: skip
NUMBERS = [0, 1, -1, 255, 1e9, -1e30, math.nan, math.inf, -math.inf]
TENSORS = [torch.zeros(0), torch.ones(3, dtype=torch.int8), torch.full((2, 2), math.nan), torch.zeros(1, 8, 1, 1)]
TYPES = ["bool", "int8", "uint64", "float16", "float64", "complex64", "U3", "datetime64[s]"]


@st.composite
def damaged_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Some pieces replaced, doubled, taken out or cut off; most of the time near the start, where headers are."""
    data = content
    for _ in range(draw(st.integers(1, 3))):
        end = len(data) if draw(st.booleans()) else min(len(data), 200)
        start = draw(st.integers(0, end))
        stop = min(len(data), start + draw(st.integers(0, 30)))
        put = draw(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=4), st.just(data[start:stop] * 2)))
        data = data[:start] + put + (b"" if draw(st.integers(0, 9)) == 0 else data[stop:])
    return data


def _places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    keys = tree.keys() if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield from _places(tree[key], (*path, key))


@st.composite
def damaged_tree(draw: st.DrawFn, tree: Any, more: Sequence[Any] = ()) -> Any:
    """One entry replaced, renamed, taken out, or put into a list; ``more`` can take its place too."""
    values = [*VALUES, *more]
    whole = copy.deepcopy(tree)
    *parents, key = draw(st.sampled_from(list(_places(whole)) or [()])) or [None]
    if key is None:
        return draw(st.sampled_from(values))
    home = whole
    for parent in parents:
        home = home[parent]
    match draw(st.sampled_from(["replace", "replace", "replace", "remove", "rename", "wrap"])):
        case "replace":
            home[key] = copy.deepcopy(draw(st.sampled_from(values)))
        case "wrap":
            home[key] = [home[key]]
        case "rename" if isinstance(home, dict):
            home[draw(st.sampled_from(["", "a", f"{key} ", str(key).upper(), f"{key}.{key}"]))] = home.pop(key)
        case _:
            del home[key]
    return whole


@st.composite
def damaged_arrays(draw: st.DrawFn, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One array taken out, of another type or shape, or with a number that no map and no weight may have."""
    name = draw(st.sampled_from(sorted(arrays)))
    array = arrays[name]
    match draw(st.sampled_from(["remove", "rename", "type", "shape", "first", "empty", "number"])):
        case "remove":
            return {key: value for key, value in arrays.items() if key != name}
        case "rename":
            return {(f"{key}2" if key == name else key): value for key, value in arrays.items()}
        case "type":
            changed = np.zeros(array.shape, draw(st.sampled_from(TYPES)))
        case "shape":
            changed = array.reshape(draw(st.sampled_from([(-1,), (1, *array.shape), (*array.shape, 1)])))
        case "first":
            changed = array[:1] if array.ndim else array
        case "empty":
            changed = np.zeros(0, array.dtype)
        case _:
            changed = np.array(array)
            if changed.size and changed.dtype.kind == "f":
                changed.flat[draw(st.integers(0, changed.size - 1))] = draw(st.sampled_from(NUMBERS))
            elif changed.size and changed.dtype.kind == "U":
                changed.flat[0] = draw(st.sampled_from(["", "../x", "é😀"]))
    return arrays | {name: changed}


@st.composite
def damaged_table(draw: st.DrawFn, table: pd.DataFrame) -> pd.DataFrame:
    """One cell or column replaced, a column or all rows taken out, a row doubled."""
    name, row = draw(st.sampled_from(list(table.columns))), draw(st.integers(0, len(table) - 1))
    match draw(st.sampled_from(["cell", "cell", "cell", "column", "remove", "rename", "none", "double", "order"])):
        case "cell":
            values = list(table[name])
            values[row] = draw(st.sampled_from(VALUES))
            return table.assign(**{name: pd.Series(_alike(values), dtype=None)})
        case "column":
            return table.assign(**{name: draw(st.sampled_from([None, 0, "a", math.nan, True, -1.5]))})
        case "remove":
            return table.drop(columns=name)
        case "rename":
            return table.rename(columns={name: f"{name}2"})
        case "none":
            return table.iloc[:0]
        case "double":
            return pd.concat([table, table.iloc[[row]]], ignore_index=True)
        case _:
            return table.iloc[::-1].reset_index(drop=True)


def _alike(values: list[Any]) -> list[Any]:
    """Of one type as far as Parquet asks for it."""
    try:
        pd.DataFrame({"a": values}).to_parquet(io.BytesIO())
    except Exception:  # whatever Arrow cannot hold in one column
        return [str(value) for value in values]
    return values


def damaged(content: bytes, suffix: str) -> st.SearchStrategy[bytes]:
    """Strategy of what a file of this suffix may hold: half of the time its format is still intact."""
    inner: dict[str, Callable[[], st.SearchStrategy[bytes]]] = {
        ".json": lambda: damaged_tree(json.loads(content)).map(lambda tree: json.dumps(tree).encode()),
        ".yaml": lambda: damaged_tree(yaml.safe_load(content)).map(lambda tree: yaml.safe_dump(tree).encode()),
        ".lock": lambda: damaged_tree(yaml.safe_load(content)).map(lambda tree: yaml.safe_dump(tree).encode()),
        ".npz": lambda: damaged_arrays(_arrays(content)).map(_npz),
        ".pt": lambda: damaged_tree(torch.load(io.BytesIO(content), weights_only=True), TENSORS).map(_saved),
        ".parquet": lambda: damaged_table(pd.read_parquet(io.BytesIO(content))).map(_parquet),
    }
    anywhere = damaged_bytes(content)
    return st.one_of(inner[suffix](), anywhere) if suffix in inner else anywhere


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


def _npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _saved(tree: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(tree, buffer)
    return buffer.getvalue()


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()
