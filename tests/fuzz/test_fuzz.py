"""Damaged files of every kind meet the command that reads them: a result or a message, nothing lost, no hang.

Some examples of each are tried with all other tests. ``make fuzz`` tries thousands, others each time; one that fails is
shown with the file that made it fail, and belongs into ``cases/TARGET`` then, which is tried first.
"""

import hashlib
import os
import shutil
from pathlib import Path

import pytest
import torch
import torchvision
from hypothesis import HealthCheck, Phase, event, given, note, settings
from hypothesis import strategies as st

from tests.data.make_photos import write_photos
from tests.fuzz.damage import damaged
from tests.fuzz.forked import run
from tests.fuzz.targets import TARGETS, Target, reseal
from tests.made_once import made_once
from tests.project import edit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]
CASES = Path(__file__).parent / "cases"
#: How many examples of each target; all others are drawn anew where it is given.
EXAMPLES = os.environ.get("WSOL_FUZZ_EXAMPLES")
#: What a message may have at most, in characters: none repeats a file.
LONGEST = 20_000
SWEEP = """\
name: small
method: grid
space:
  train.lambda: [0.0, 0.5]
  train.regularizer: [kl_uniform, none]
"""


def make_base(first_run: Path, base: Path) -> None:
    """A project after a run of a small network, and beside it whatever else the commands read."""
    left_out = (
        "pipeline",
        "dags",
        "docs",
        "docker",
        "benchmarks",
        "cache",
        "tmp",
        "checkpoints",
        "models",
        "photos",
        "__pycache__",
    )
    shutil.copytree(first_run, base, symlinks=True, ignore=shutil.ignore_patterns(*left_out))
    edit(base, {"train.backbone": "mobilenet_v2", "localize.threshold": 0.4})
    for stage in ("train", "extract_cams", "localize", "evaluate", "report"):
        done(base, stage)
    torch.save(torchvision.models.mobilenet_v2().state_dict(), base / "weights.pth")
    (base / "sweep.yaml").write_text(SWEEP)
    write_photos(base / "photos", per_class=6)
    formats = "--format=coco-full,yolo,voc,cvat"
    done(base, "predict", "photos", "--out", "notes", "--save-model", "bundle.safetensors", "--conf=0", formats)
    (base / "photos/boxes.csv").write_text("image,x0,y0,x1,y1\ncats/0.jpg,2,3,20,21\ndogs/1.jpg,5,6,30,31\n")


def done(project: Path, *command: str) -> None:
    """Run a command that must succeed."""
    ended = run(project, command)
    assert ended.code == 0, ended.text


@pytest.fixture(scope="module")
def base(tmp_path_factory, first_run):
    return made_once(tmp_path_factory, "fuzz", lambda folder: make_base(first_run, folder / "project")) / "project"


def snapshot(project: Path, but: tuple[str, ...] = ()) -> dict[str, str]:
    """Hash of every file that a command must leave alone: all but DVC's and MLflow's own, where a failure is noted."""
    ignored = (".git/", ".dvc/tmp", ".wsol/", *but)
    paths = (path for path in project.rglob("*") if path.is_file() and path.suffix not in (".pyc", ".nbi", ".nbc"))
    names = {path.relative_to(project).as_posix(): path for path in paths}
    kept = {name: path for name, path in names.items() if not name.startswith(ignored) and not name.endswith(".lock")}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in kept.items()}


def place(source: str, target: str) -> None:
    """A copy; of a large file a link, as all commands put new files in the place of old ones."""
    (os.link if Path(source).stat().st_size > 100_000 else shutil.copy2)(source, target)


def meet(project: Path, target: Target, name: str, content: bytes) -> None:
    """Put a damaged file in its place, run the command, and see that all is as it should be."""
    file = project / name
    file.unlink()
    file.write_bytes(content)
    if target.sealed:
        reseal(project, target.sealed, file)
    before = snapshot(project)
    ended = run(project, target.command)
    note(f"{name}: exit code {ended.code}\n{ended.text[-3000:]}")
    event(f"exit code {ended.code}")
    assert ended.code in (0, 2)
    assert "Traceback" not in ended.text
    assert len(ended.text) < LONGEST
    if ended.code:
        assert "error: " in ended.text
        assert snapshot(project) == before
    else:
        assert snapshot(project, target.writes).items() <= before.items()


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    return iter(tmp_path_factory.mktemp("fuzz") / f"{number}" / "project" for number in range(10**6))


@settings(
    max_examples=int(EXAMPLES or 2), derandomize=not EXAMPLES, deadline=None, database=None, print_blob=False,
    suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate, Phase.shrink],
)  # fmt: skip
@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
def test_a_damaged_file_gives_a_result_or_a_message(base, places, name, data):
    target, project = TARGETS[name], next(places)
    files = sorted({path for pattern in target.files for path in base.glob(pattern) if path.is_file()})
    file = data.draw(st.sampled_from(files))
    content = data.draw(damaged(file.read_bytes(), file.suffix))
    shutil.copytree(base, project, symlinks=True, copy_function=place)
    edit(project, dict(target.settings))
    meet(project, target, file.relative_to(base).as_posix(), content)
    shutil.rmtree(project.parent)


def kept_cases():
    """Each file that was mended once: ``cases/TARGET/NAME/PATH`` is to lie at PATH in the project."""
    for file in sorted(path for path in CASES.rglob("*") if path.is_file()):
        target, name, *path = file.relative_to(CASES).parts
        yield pytest.param(target, "/".join(path), file, id=f"{target}-{name}")


@pytest.mark.parametrize(("name", "path", "file"), kept_cases())
def test_what_failed_once(base, places, name, path, file):
    target, project = TARGETS[name], next(places)
    shutil.copytree(base, project, symlinks=True, copy_function=place)
    edit(project, dict(target.settings))
    meet(project, target, path, file.read_bytes())
    shutil.rmtree(project.parent)
