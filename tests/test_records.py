"""Every output knows what it was made from; whatever is changed between two stages is named by the next."""

import hashlib
import random
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline import records
from pipeline.data.manifest import read_dataset
from pipeline.errors import UserError
from pipeline.files import BOXES, CAMS, LABELLED, METRICS, MODELS, PREPARED, REPORT, file_hash, write_shard
from pipeline.models.localizer import build_localizer, save_localizers
from pipeline.params import load_params
from pipeline.records import Inputs, adopt_model, read_record, write_record
from pipeline.schemas import CAM_SHARD, PER_IMAGE, check_arrays, check_numbers, parse_json, parse_table
from pipeline.stages import evaluate, extract_cams, localize, report, track, train
from pipeline.tracking.provenance import read_result
from tests.full_disk import FullDisk
from tests.sample_result import CLASSES, write_params, write_result, write_run, write_training

ARCHITECTURE = {"backbone": "squeezenet1_1", "stride": 16, "head": "gap", "tap_threshold": 0.1, "acol_threshold": 0.6,
                "acol_width": 8, "ae_threshold": 0.6, "classes": len(CLASSES)}  # fmt: skip
#: Every file between stages, and the stages that read it.
READERS = {
    "data/labelled/manifest.parquet": (train, extract_cams),
    "data/labelled/dataset.json": (train, extract_cams),
    "data/labelled/record.json": (train, extract_cams),
    "data/prepared/manifest.parquet": (localize, report),
    "data/prepared/dataset.json": (localize, evaluate),
    "data/prepared/record.json": (localize, evaluate, report, track),
    "models/model.pt": (extract_cams, track),
    "models/record.json": (extract_cams, report, track),
    "models/training.json": (report, track),
    "models/history.csv": (report, track),
    "cams/record.json": (localize, evaluate, report, track),
    "cams/val/00000.npz": (localize, evaluate),
    "cams/test/00000.npz": (localize, evaluate, report),
    "cams/gate/00000.npz": (localize, evaluate),
    "boxes/record.json": (evaluate, report, track),
    "boxes/threshold.json": (evaluate,),
    "boxes/predictions.parquet": (report,),
    "boxes/val/00000.npz": (evaluate,),
    "boxes/test/00000.npz": (evaluate,),
    "boxes/gate/00000.npz": (evaluate,),
    "metrics/record.json": (report, track),
    "metrics/metrics.json": (report, track),
    "metrics/threshold_curve.csv": (report, track),
    "metrics/per_image.parquet": (report, track),
    "metrics/reliability.json": (track,),
    "report/record.json": (track,),
    "report/index.html": (track,),
}
FOLDERS = (LABELLED, PREPARED, MODELS, CAMS, BOXES, METRICS, REPORT)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A result by the real stages, but for the training."""
    folder = tmp_path_factory.mktemp("chain") / "project"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_params(folder, train__crop=32, train__resize=32, train__backbone="squeezenet1_1", evaluate__interval=0.01)
        write_run(folder)
        save_localizers(folder / "new.pt", [build_localizer(ARCHITECTURE)], ARCHITECTURE)
        write_training(folder, model=(folder / "new.pt").read_bytes())
        extract_cams.run(load_params())
        write_result()
        report.run(load_params())
        read_result()
    return folder


@pytest.fixture
def project(finished, tmp_path, monkeypatch, state):
    shutil.copytree(finished, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    (tmp_path / "project/dvc.yaml").write_text("stages: {train: {deps: []}}")
    return tmp_path / "project"


def refuse(path, stages, content):
    """Every stage that reads a file must name it once it has other content, or none, and write nothing."""
    whole = path.read_bytes()
    path.unlink() if content is None else path.write_bytes(content)
    before = {p: p.stat().st_mtime_ns for p in Path.cwd().rglob("*")}
    for stage in stages:
        with pytest.raises(UserError) as error:
            stage.run(load_params())
        assert str(path) in str(error.value), stage.__name__
    assert {p: p.stat().st_mtime_ns for p in Path.cwd().rglob("*")} == before
    path.write_bytes(whole)


def changes(content, others, rng):
    """A file's content with a bit flipped at random places, cut, longer, and that of another file; or no file."""
    for _ in range(3):
        flipped = bytearray(content)
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        yield bytes(flipped)
    yield content[: rng.randrange(len(content))]
    yield content + content[:1]
    yield from (b"", b"{}", b"[" * 5000, rng.choice([other for other in others if other != content]), None)


def test_the_list_of_files_is_complete(project):
    found = {path.relative_to(project).as_posix() for folder in FOLDERS for path in folder.absolute().rglob("*.*")}
    assert found == set(READERS)


@pytest.mark.parametrize("name", READERS)
def test_whatever_is_changed_between_stages_is_named_by_the_next(project, name):
    others = [(project / other).read_bytes() for other in READERS]
    rng = random.Random(name)
    for content in changes((project / name).read_bytes(), others, rng):
        refuse(project / name, READERS[name], content)


def test_a_result_that_was_not_changed_gives_the_same_bytes_again(project):
    def contents():
        return {name: file_hash(project / name) for name in READERS if not name.startswith(("data", "models"))}

    before = contents()
    for stage in (extract_cams, localize, evaluate, report):
        stage.run(load_params())
    assert contents() == before


def test_a_record_names_files_origins_and_parameters(project):
    record = read_record(METRICS)
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in METRICS.iterdir()}
    del files["record.json"]
    assert record.files == files
    identities = {str(folder): read_record(folder).identity for folder in FOLDERS[:5]}
    assert record.made_from == identities
    assert record.params["train"]["train.lambda"] == load_params().train.lambda_
    assert set(record.params) == {"prepare", "train", "extract_cams", "localize", "evaluate"}
    assert "track.experiment" not in Inputs(METRICS).settings()


@pytest.mark.parametrize("stage", [localize, evaluate, report])
def test_outputs_of_two_runs_are_told_apart(project, stage):
    """Each file is whole, but the maps are those of another model."""
    write_training(project, model=b"other weights")
    if stage is localize:
        localize.run(load_params())  # these maps belong to that model
    else:
        with pytest.raises(UserError, match=r"(boxes|metrics) was made from another (cams|models) than"):
            stage.run(load_params())


def test_a_model_of_other_data_is_refused_unless_it_was_brought_on_purpose(project):
    write_params(project, train__crop=32, train__resize=32, prepare__seed=9)
    (LABELLED / "record.json").unlink()
    write_record(LABELLED, LABELLED, None, load_params(), only=("manifest.parquet", "dataset.json"))
    with pytest.raises(
        UserError, match=r"models was made from another data/labelled than the one here.*pipeline train"
    ):
        extract_cams.run(load_params())
    adopt_model(MODELS)
    extract_cams.run(load_params())
    assert Inputs(CAMS).made_from["data/labelled"] == read_record(LABELLED).identity


def test_results_of_an_earlier_version_say_what_to_run(project):
    (CAMS / "record.json").unlink()
    with pytest.raises(UserError, match=r"cams/record\.json does not exist\. Run `python -m pipeline extract_cams`"):
        localize.run(load_params())


def test_small_numbers_are_recorded_exactly(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, train__lambda=1e-300)
    Path("model.pt").write_bytes(b"weights")
    record = write_record(tmp_path, MODELS, None, load_params(), only=("model.pt",))
    assert record.params["train"]["train.lambda"] == 1e-300


def test_a_seal_covers_every_byte(tmp_path):
    path = tmp_path / "sealed.json"
    records.write_sealed(path, {"stage": "train", "files": {}, "made_from": {}, "params": {"train": {"a": 1.5}}})
    whole = path.read_bytes()
    records.read_sealed(path, records.Record)
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(UserError, match=r"sealed\.json is damaged"):
            records.read_sealed(path, records.Record)


@pytest.mark.parametrize("change", [
    {"maps": np.zeros((2, 2, 3), np.float32)}, {"maps": np.full((2, 2, 3, 3), np.nan, np.float32)},
    {"classes": np.zeros((2, 3), int)}, {"classes": np.zeros((2, 2))}, {"logits": np.zeros((1, 3), np.float32)},
    {"logits": np.full((2, 3), np.inf, np.float32)}, {"image_ids": np.array([1, 2])}, {"image_ids": np.array("ab")},
])  # fmt: skip
def test_a_shard_of_another_form_is_named(change):
    shard = {"image_ids": np.array(["a", "b"]), "classes": np.zeros((2, 2), int),
             "maps": np.zeros((2, 2, 3, 3), np.float32), "logits": np.zeros((2, 3), np.float32)}  # fmt: skip
    check_arrays(shard, CAM_SHARD)
    (name,) = change
    with pytest.raises(ValueError, match=f"array {name}"):
        check_arrays(shard | change, CAM_SHARD)
    with pytest.raises(ValueError, match=f"no array {name}"):
        check_arrays({key: value for key, value in shard.items() if key != name}, CAM_SHARD)


@pytest.mark.parametrize(("column", "values", "problem"), [
    ("image_id", [1, 2], "expected text"), ("label", [0.5, 1.0], "expected integer"),
    ("iou", ["a", "b"], "expected number"), ("box", [1, 2], "expected numbers"), ("split", ["val", None], "1 values"),
])  # fmt: skip
def test_a_table_of_another_form_is_named(tmp_path, column, values, problem):
    table = pd.DataFrame({"image_id": ["a", "b"], "split": "val", "label": [0, 1], "top5": [[0], [1]],
                          "box": [[0, 0, 1, 1]] * 2, "iou": [0.5, None]})  # fmt: skip
    path = tmp_path / "table.parquet"
    table.to_parquet(path)
    pd.testing.assert_frame_equal(parse_table(path.read_bytes(), PER_IMAGE), pd.read_parquet(path))
    table.assign(**{column: values}).to_parquet(path)
    with pytest.raises(ValueError, match=f"column {column}: {problem}"):
        parse_table(path.read_bytes(), PER_IMAGE)
    table.drop(columns=column).to_parquet(path)
    with pytest.raises(ValueError, match=f"no column {column}"):
        parse_table(path.read_bytes(), PER_IMAGE)


@pytest.mark.parametrize("boxes", [[[[0, 0, 1]]], [[[0, 0, 1, float("nan")]]], [[["a"] * 4]], [None]])
def test_a_manifest_with_other_boxes_is_named(project, boxes):
    path = project / PREPARED / "manifest.parquet"
    rows = pd.read_parquet(path).head(1)
    rows.assign(boxes=pd.Series(boxes, dtype=object)).to_parquet(path)
    with pytest.raises(UserError, match=rf"{path} is damaged: column boxes"):
        read_dataset()


def test_numbers_only():
    with pytest.raises(ValueError, match="no column epoch"):
        check_numbers(pd.DataFrame({"a": [1]}), ("epoch",))
    with pytest.raises(ValueError, match="column a holds"):
        check_numbers(pd.DataFrame({"epoch": [1], "a": ["x"]}), ("epoch",))


def test_json_of_another_form_is_named():
    assert parse_json(b'{"a": 1}', dict[str, int]) == {"a": 1}
    with pytest.raises(ValueError, match="a: Input should be a valid integer"):
        parse_json(b'{"a": "x"}', dict[str, int])


def test_the_shards_of_a_record_are_all_read_and_no_other(project):
    write_shard(CAMS / "val", 1, {"stray": np.zeros(1)})
    localize.run(load_params())
    (CAMS / "val/00000.npz").unlink()
    with pytest.raises(UserError, match=r"00000\.npz does not exist"):
        localize.run(load_params())


def test_a_kill_between_two_renames_is_noticed(project):
    """`evaluate` was killed after one of its files had taken its place: the record is that of the old ones."""
    old = (METRICS / "metrics.json").read_bytes()
    write_params(project, train__crop=32, train__resize=32, train__backbone="squeezenet1_1", localize__threshold=0.7)
    localize.run(load_params())
    evaluate.run(load_params())
    (METRICS / "metrics.json").write_bytes(old)
    with pytest.raises(UserError, match=r"metrics/metrics\.json is not the file that stage evaluate wrote"):
        report.run(load_params())


@pytest.mark.parametrize(("stage", "folder"), [(evaluate, METRICS), (report, REPORT)])
def test_a_full_disk_leaves_the_old_result_whole_at_every_step(project, stage, folder):
    def contents():
        return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    before = contents()
    for step in range(100):
        with pytest.MonkeyPatch.context() as patch:
            disk = FullDisk(patch, step, lasting=False)
            try:
                stage.run(load_params())
            except UserError as error:
                assert f"cannot write {folder.absolute()}: No space left" in str(error)
        if not disk.failed:
            break
        assert contents() == before
        assert not list(Path().rglob(f".{folder.name}.*"))
    assert step > 8
