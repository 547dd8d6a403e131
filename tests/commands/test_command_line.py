"""The command line as people meet it: help, version, completion; and the one line that programs read."""

import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import console
from pipeline.commands import answers
from pipeline.commands.answers import answering, is_answering
from pipeline.commands.command_line import command_line
from pipeline.commands.table import COMMANDS

ROOT = Path(__file__).parents[2]
TREE = command_line()
USERS = [name for group in list(COMMANDS)[:4] for name in COMMANDS[group]]


def leaves(group, before=()):
    """Every command with the words that call it."""
    for name, command in group.commands.items():
        words = (*before, name)
        yield from leaves(command, words) if hasattr(command, "commands") else [(words, command)]


LEAVES = {" ".join(words): command for words, command in leaves(TREE)}


def entries(table, before=()):
    for name, entry in table.items():
        words = (*before, name)
        if isinstance(entry.content, tuple):
            yield from entries(entry.content[1], words)
        else:
            yield " ".join(words), entry.content


FUNCTIONS = dict(entry for group in COMMANDS.values() for entry in entries(group))


def help_of(words):
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *words, "--help"], cwd=ROOT, capture_output=True, text=True, check=True,
        env=os.environ | {"COLUMNS": "80"},
    )  # fmt: skip
    return done.stdout


def test_the_list_of_commands_has_the_users_first_and_one_line_for_each():
    text = help_of([])
    # A line that goes on begins with spaces inside of the frame.
    assert not re.findall(r"^│ {10}", text, re.MULTILINE)
    listed = re.findall(r"^│ ([a-z][\w-]*) ", text, re.MULTILINE)
    assert listed == [name for group in COMMANDS.values() for name in group]
    assert listed[0] == "start" and listed.index("ui") < listed.index("prepare") < listed.index("workspace")


@pytest.mark.parametrize("name", LEAVES)
def test_help_speaks_of_values_in_words(name):
    command = LEAVES[name]
    context = command.make_context(name, [], resilient_parsing=True)
    for parameter in command.get_params(context):
        assert "<" not in (parameter.display_type_rich(context) or ""), parameter.name
        assert parameter.param_type_name == "argument" or parameter.help


@pytest.mark.parametrize("name", USERS)
def test_the_help_of_a_users_command_has_examples_that_are_understood(name):
    lines = re.findall(r"^ +python -m pipeline (.*)$", LEAVES[name].epilog or "", re.MULTILINE)
    assert lines or "eval" in LEAVES[name].epilog
    for line in lines:
        words = shlex.split(line)
        assert words[0] == name
        LEAVES[name].make_context(name, words[1:])


def test_help_is_plain_text_where_no_terminal_is():
    text = help_of(["compare"])
    assert "\x1b" not in text
    assert "python -m pipeline compare champion here" in text


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_answers_programs_has_json_and_nothing_else_has(name):
    options = {option for parameter in LEAVES[name].params for option in parameter.opts}
    assert ("--json" in options) == is_answering(FUNCTIONS[name])


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if is_answering(FUNCTIONS[name])])
@pytest.mark.parametrize(("terminal", "asked", "shown"), [(True, False, 0), (True, True, 1), (False, False, 1)])
def test_people_see_json_only_where_they_ask_for_it(monkeypatch, capsys, name, terminal, asked, shown):
    monkeypatch.setattr(console, "is_terminal", lambda stream: terminal)

    def command(**given):
        return {"given": sorted(given)}

    command.__signature__ = answers.inspect.signature(FUNCTIONS[name])
    answering(command)(as_json=asked)
    assert capsys.readouterr().out == '{"given": []}\n' * shown


def test_a_command_that_has_nothing_to_say_to_programs_says_nothing(monkeypatch, capsys):
    answering(lambda: None)(as_json=True)
    assert capsys.readouterr().out == ""


def test_an_unknown_command_is_a_mistake_and_the_nearest_is_named(capsys):
    with pytest.raises(SystemExit) as stop:
        TREE(["repo"])
    assert stop.value.code == 2
    assert "repro" in capsys.readouterr().err


def test_the_version_has_the_commit():
    done = subprocess.run([sys.executable, "-m", "pipeline", "--version"], cwd=ROOT, capture_output=True, text=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    assert re.fullmatch(r"wsol-pipeline \d+\.\d+\.\d+( \([0-9a-f]{12}(-dirty)?\))?\n", done.stdout)
    assert not commit or commit[:12] in done.stdout


@pytest.fixture
def checkout(tmp_path):
    """A folder where `.venv/bin/python -m pipeline` is this one."""
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "found"),
    [("wsol pre", "predict preset prepare"), ("wsol workspace c", "create"), ("wsol repro --for", "--force")],
)
def test_the_tab_key_completes_commands_and_options(checkout, typed, found):
    lines = [
        'eval "$(.venv/bin/python -m pipeline completion)"',
        f"COMP_WORDS=({typed}) COMP_CWORD={len(typed.split()) - 1}",
        "_wsol",
        'echo "${COMPREPLY[*]}"',
    ]
    done = subprocess.run(["bash", "-c", "\n".join(lines)], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.stdout.split() == found.split(), done.stderr


def on_a_terminal(arguments, cwd):
    """What a command shows on a terminal."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline", *arguments], cwd=cwd, stdin=slave, stdout=slave, stderr=slave,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"},
    ) as process:  # fmt: skip
        os.close(slave)
        shown = b""
        try:
            while block := os.read(master, 65536):
                shown += block
        except OSError:  # the other end is closed
            pass
        process.wait()
    os.close(master)
    return shown.decode()


def test_colours_and_no_json_on_a_terminal_and_plain_lines_elsewhere():
    arguments = ["raw-hash"]
    assert on_a_terminal(arguments, ROOT).endswith(" is the hash of data/synthetic\r\n")
    assert "\x1b[1;31merror:" in on_a_terminal(["repro", "trian"], ROOT)
    piped = subprocess.run(
        [sys.executable, "-m", "pipeline", "repro", "trian"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert piped.stderr.startswith("error: ") and "\x1b" not in piped.stderr
