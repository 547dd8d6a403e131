"""Settings are read the same by all YAML readers, or refused by name: never a traceback, never a hang."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pipeline.errors import ParamsError
from pipeline.overrides import override, parse_assignment, parse_values, value_of
from pipeline.params import load_params, parse_params
from pipeline.strict_yaml import read_yaml

COMMITTED = (Path(__file__).parents[1] / "params.yaml").read_text()
#: Plain scalars that YAML 1.1 and 1.2 take for different values, or that one of them cannot take at all.
AMBIGUOUS = [
    "010", "0o10", "08", "1:30", "1:30:15.5", "yes", "No", "on", "OFF", "1_000", "1_0.5", "0x1F", "0b_", "0b1", "0x_",
    "2024-01-01", "2024-13-45", ".inf", "-.inf", ".nan", "=", "00.5", "0_", "+0o7", "190:20:30", "+.inf", "1e999",
]  # fmt: skip
#: Values as they could stand after a key; each once broke a reader, or would fill the memory or the screen.
BROKEN = {
    "int of no number": "!!int abc",
    "python object": "!!python/object/apply:os.getcwd []",
    "binary": "!!binary aGFsbG8=",
    "anchor": "&a 1",
    "alias of nothing": "*a",
    "5,000 digits": "9" * 5000,
    "5,000 digits after the point": "0." + "1" * 5000,
    "beyond floats": "1e999",
    "deep": "[" * 2000 + "]" * 2000,
    "open": "[" * 150_000,
    "deep mappings": "{a: " * 1000,
    "many values": "[" + "1, " * 50_000 + "1]",
    "megabytes": "x" * 3_000_000,
    "long text": "x" * 150_000,
    "not a letter": '"\\UFFFFFFFF"',
    "half a letter": '"\\ud800"',
    "NUL": "a\0b",
    "NUL escaped": '"a\\0b"',
    "long name": "a" * 300,
    "merge": "{<<: {a: 1}}",
    "key of a list": "{[1]: 2}",
    "key of a number": "{1: 2}",
    "long key": "{" + "k" * 5000 + ": 1}",
    "tab": "\t\t- x\t:\n\t- y",
}
BOMB = "a: &a [x, x]\n" + "".join(
    f"{n}: &{n} [*{o}, *{o}, *{o}, *{o}]\n" for o, n in zip("abcdefghij", "bcdefghijk", strict=True)
)
FILES = {
    "empty": "", "comment": "# nothing", "null": "~", "list": "- 1\n- 2\n", "text": "just text", "bomb": BOMB,
    "two documents": COMMITTED + "---\na: 1\n", "directive": "%YAML 1.1\n---\n" + COMMITTED, "open": "a: [",
    "huge directive": "%YAML " + "9" * 5000 + ".1\n--- a", "twice": "seed: 1\nseed: 2\n", "NUL": "seed: \0",
    "BOM": "\ufeff" + COMMITTED,
    "merge": "x: {<<: {seed: 1}}\n" + COMMITTED,
    "20,000 keys": COMMITTED + "".join(f"trains{i}: 1\n" for i in range(20_000)),
    "4,000 keys": COMMITTED + "".join(f"train{i}: 1\n" for i in range(4000)),
    "4,000 in a group": COMMITTED.replace("  epochs:", "".join(f"  epoch{i}: 1\n" for i in range(4000)) + "  epochs:"),
}  # fmt: skip


def refused(read, *arguments) -> str:
    with pytest.raises(ParamsError) as error:
        read(*arguments)
    assert error.value.exit_code == 2
    assert len(str(error.value)) < 5000
    return str(error.value)


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_what_readers_take_differently_is_refused_by_name_wherever_it_stands(text):
    found = refused(read_yaml, f"seed: 0\ntrain: {{lambda: {text}}}", "f.yaml")
    assert found.startswith(f"f.yaml, line 2: train.lambda: {text} ")
    assert "train.lambda" in refused(parse_assignment, f"train.lambda={text}")
    assert read_yaml(f'a: "{text}"', "f") == {"a": text}


@pytest.mark.parametrize(("text", "value"), [
    ("0", 0), ("-3", -3), ("1e-4", 1e-4), ("2.5E-1", 0.25), (".5", 0.5), ("5.", 5.0), ("true", True), ("~", None),
    ("y", "y"), ("a=b", "a=b"), ("../x y", "../x y"), ("1.5.2", "1.5.2"), ("e5", "e5"), ("λ", "λ"),
    ("[0.3, auto]", [0.3, "auto"]),
])  # fmt: skip
def test_what_all_take_alike_is_read(text, value):
    assert read_yaml(f"a: {text}", "f") == {"a": value}
    assert YAML(typ="safe", pure=True).load(f"a: {text}") == {"a": value}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_value_is_refused_in_the_file_in_an_assignment_and_as_json(name):
    text = COMMITTED.replace("root: data/synthetic", f"root: {BROKEN[name]}")
    assert text != COMMITTED
    refused(parse_params, text, "params.yaml")
    refused(lambda: parse_params(override(COMMITTED, dict([parse_assignment(f"prepare.root={BROKEN[name]}")])), "p"))
    refused(lambda: parse_params(override(COMMITTED, parse_values(f'{{"prepare.root": {BROKEN[name]}}}')), "p"))
    refused(value_of, text if name in ("anchor", "deep", "open") else "a: &a 1", "prepare.root")


@pytest.mark.parametrize("name", FILES)
def test_a_broken_file_is_refused(name, tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(FILES[name])
    assert str(path) in refused(load_params, path)
    if name in ("bomb", "open", "list", "text"):
        refused(override, FILES[name], {"seed": 1})


def test_a_text_that_reads_as_something_else_is_written_in_quotes():
    for text in ("on", "010", "2024-01-01", "1e5", ""):
        assert value_of(override("a: x\n", {"a": text}), "a") == text


values = st.one_of(
    st.sampled_from([*AMBIGUOUS, *(text for text in BROKEN.values() if len(text) < 6000)]),
    st.text(max_size=30),
    st.text("0123456789_.:eEx+-[]{}&*!|>'\"#, \n\t\\~<=", max_size=30),
    st.integers().map(str), st.floats().map(repr),
)  # fmt: skip
keys = st.sampled_from(["epochs", "lambda", "experiment", "root", "seed", "iou", "threshold", "has_sides", "interval"])


@settings(max_examples=50, deadline=None, derandomize=True)
@given(keys, values)
def test_any_value_is_read_by_all_alike_or_refused(key, value):
    lines = COMMITTED.splitlines(keepends=True)
    text = "".join(
        f"{line.partition(':')[0]}: {value}\n" if line.lstrip().startswith(f"{key}:") else line for line in lines
    )
    try:
        parse_params(text, "params.yaml")
    except ParamsError as error:
        assert len(str(error)) < 5000
    else:
        assert YAML(typ="safe", pure=True).load(text) == read_yaml(text, "p")


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.one_of(st.binary(max_size=60), st.text("ab:-[]{}&*!|>'\"#, \n\t?%@`\\0123.", max_size=40).map(str.encode)))
def test_any_bytes_are_read_by_all_alike_or_refused(data):
    try:
        value = read_yaml(data, "f")
    except ParamsError as error:
        assert len(str(error)) < 5000
    else:
        assert YAML(typ="safe", pure=True).load(data.decode()) == value
        assert yaml.safe_load(data) == value or b"e" in data.lower()  # 1e4 is text for YAML 1.1, which settings allow
