"""Presets: named settings, each a file that holds only what differs from ``presets/default.yaml``."""

import difflib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline import console
from pipeline.errors import ParamsError
from pipeline.files import write_bytes
from pipeline.overrides import override, written
from pipeline.params import PARAMS_FILE, flatten, parse_params
from pipeline.strict_yaml import read_yaml
from pipeline.system.state import state_folder

FOLDER = Path("presets")
#: All settings with their comments, those of the ``params.yaml`` that a clone begins with.
DEFAULT = "default"


def preset_names() -> tuple[str, ...]:
    """The presets of the current checkout, the default first."""
    names = sorted(path.stem for path in FOLDER.glob("*.yaml"))
    return tuple(sorted(names, key=lambda name: name != DEFAULT))


def title(name: str) -> str:
    """What a preset is, in one line: the first of its file."""
    return _text(name).partition("\n")[0].removeprefix("# ")


def preset_text(name: str, overrides: Mapping[str, Any]) -> str:
    """The text of a parameters file: the defaults with a preset's values, and others upon these.

    What the present ``params.yaml`` holds does not matter: two presets never mix.

    Raises:
        ParamsError: there is no such preset, or the values are not valid together.
    """
    default = _text(DEFAULT).replace("$schema=../", "$schema=")  # an editor starts at the file that it has open
    text = override(default, {**_values(name), **overrides})
    parse_params(text, f"preset {name}{f' with {written(overrides)}' if overrides else ''}")
    return text


def write_params(text: str) -> None:
    """Make a text ``params.yaml``; what was there is kept in the state folder, by its content.

    Raises:
        ParamsError: the file cannot be read or written; it is then unchanged.
    """
    try:
        former = PARAMS_FILE.read_bytes() if PARAMS_FILE.exists() else b""
        if former and former != text.encode():
            kept = state_folder() / "params" / f"{hashlib.sha256(former).hexdigest()[:12]}.yaml"
            write_bytes(kept, former)
            console.say(f"the former {PARAMS_FILE} is kept as {kept}")
        write_bytes(PARAMS_FILE, text.encode())
    except OSError as error:
        raise ParamsError(f"{PARAMS_FILE} cannot be written: {error.strerror}; it is as it was.") from None


def _values(name: str) -> dict[str, Any]:
    tree = read_yaml(_text(name), str(FOLDER / f"{name}.yaml"))
    if not isinstance(tree, dict):
        raise ParamsError(f"{FOLDER / name}.yaml must hold groups of keys, found {type(tree).__name__}.")
    return dict(flatten(tree))


def _text(name: str) -> str:
    names = preset_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none in this folder'}."
        raise ParamsError(f"there is no preset {name!r}; {hint}")
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
