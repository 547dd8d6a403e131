"""From images to an output folder, with a small untrained model: what is exact, what goes wrong, what is resumed."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pipeline.data.annotations import read_annotations
from pipeline.data.manifest import Dataset
from pipeline.errors import DataError, UserError
from pipeline.files import BOXES, CAMS, LABELLED, METRICS, MODELS
from pipeline.models.localizer import build_localizer, save_localizers
from pipeline.params import load_params
from pipeline.predict.bundle import read_model, write_model_here
from pipeline.predict.choice import load_model
from pipeline.predict.command import predict
from pipeline.predict.drawing import draw_boxes
from pipeline.predict.fetch import fetch
from pipeline.predict.names import unique_names
from pipeline.predict.predictor import Options, Predictor
from pipeline.predict.sources import find_sources
from pipeline.records import Inputs, write_record
from pipeline.stages import evaluate, extract_cams, localize
from tests.made_once import made_once
from tests.project import ROOT, environment
from tests.sample_result import write_params, write_prepared

RELIABILITY = METRICS / "reliability.json"
CLASSES = ("kite", "</script><img src=x onerror=alert(1)>")
SETTINGS = {"train__crop": 64, "train__resize": 72, "extract_cams__batch_size": 4, "localize__threshold": 0.4}


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A folder with everything up to ``boxes/``: an untrained squeezenet, and images of several shapes."""

    def make(folder):
        here = Path.cwd()
        os.chdir(folder)
        try:
            write_params(folder, train__backbone="squeezenet1_1", **SETTINGS)
            _write_data(folder)
            _write_model()
            params = load_params()
            extract_cams.run(params)
            localize.run(params)
            evaluate.run(params)
            write_model_here(folder / "model.safetensors")
        finally:
            os.chdir(here)

    return made_once(tmp_path_factory, "predict_finished", make)


def _write_data(folder):
    rng = np.random.default_rng(0)
    rows = []
    (folder / "images").mkdir()
    for split, count in (("train", 2), ("val", 3), ("test", 10)):
        for i in range(count):
            height, width = int(rng.integers(40, 90)), int(rng.integers(40, 90))
            pixels = cv2.resize(rng.integers(0, 255, (6, 6, 3), np.uint8), (width, height))
            cv2.imwrite(str(folder / f"images/{split}{i}.png"), pixels)
            rows.append({"image_id": f"{split}{i}", "path": f"{split}{i}.png", "split": split, "labels": [i % 2],
                         "width": width, "height": height, "boxes": [[1.0, 2.0, 30.0, 30.0]],
                         "masks": [], "ignore_mask": None, "part_mask": None})  # fmt: skip
    write_prepared(Dataset(pd.DataFrame(rows), CLASSES, folder / "images", "c0ffee"))


def _write_model():
    torch.manual_seed(0)
    architecture = {"backbone": "squeezenet1_1", "stride": 16, "head": "gap", "classes": 2, "tap_threshold": 0.1,
                    "acol_threshold": 0.6, "acol_width": 8, "ae_threshold": 0.6}  # fmt: skip
    MODELS.mkdir()
    save_localizers(MODELS / "model.pt", [build_localizer(architecture).eval()], architecture)
    write_record(MODELS, MODELS, Inputs(LABELLED), load_params(), only=("model.pt",))


@pytest.fixture
def here(finished, tmp_path, monkeypatch):
    """A copy of that folder, as the current one."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    monkeypatch.chdir(folder)
    return folder


def records(folder):
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_boxes_classes_and_scores_are_those_of_the_stages(here, model="model.safetensors"):
    stored = pd.read_parquet(BOXES / "predictions.parquet")
    stored = stored[stored["split"] == "test"].set_index("image_id")
    names = [str(here / f"images/{image_id}.png") for image_id in stored.index]
    predictor = Predictor.load(model, Options(batch_size=4))
    for (_, row), predicted in zip(stored.iterrows(), predictor(names), strict=True):
        (box,) = predicted.record.boxes
        assert list(box.xyxy) == list(row["box"])
        assert (predicted.record.class_name, predicted.record.probability) == (row["predicted"], row["score"])
        assert box.score == predicted.record.probability * box.map_mean


def test_the_reliability_table_counts_the_scores_that_predict_gives(here):
    model = load_model("model.safetensors")
    assert [row.model_dump() for row in model.facts.reliability] == json.loads(RELIABILITY.read_text())["test"]
    images = sorted((here / "images").glob("test*.png"))
    scores = np.array([one.record.score for one in Predictor(model, Options(batch_size=4))(images)])
    for row in model.facts.reliability:
        inside = scores[(scores >= row.low) & (scores < row.high)]
        assert (len(inside), inside.mean()) == (row.boxes, pytest.approx(row.score, rel=1e-9))
    assert sum(row.boxes for row in model.facts.reliability) == len(images)
    predict([str(images[0])], model="model.safetensors", out=here / "out")
    assert f'"boxes": {row.boxes}, ' in (here / "out/index.html").read_text()
    write_params(here, train__backbone="squeezenet1_1", **SETTINGS | {"localize__threshold": 0.3})
    localize.run(load_params())
    assert load_model().facts.reliability == []


def test_a_method_that_has_learnt_from_the_training_images_travels_with_its_model(here):
    """Boxes are those of the stages; without what was learnt, or with a part of it, the file is refused."""
    write_params(here, train__backbone="squeezenet1_1", extract_cams__method="ddt",
                 extract_cams__ddt_layers=["features.9@96", "features.7@64"], **SETTINGS)  # fmt: skip
    for stage in (extract_cams, localize):
        stage.run(load_params())
    write_model_here(here / "ddt.safetensors")
    test_boxes_classes_and_scores_are_those_of_the_stages(here, "ddt.safetensors")
    tensors = load_file("ddt.safetensors")
    with safe_open("ddt.safetensors", "pt") as file:
        save_file({k: v for k, v in tensors.items() if k != "fitted.fine.means"}, "less.safetensors", file.metadata())
    with pytest.raises(UserError, match=r"has learnt: the projections have no means\. Make it again"):
        Predictor.load("less.safetensors")


def test_boxes_of_the_label_are_those_that_the_accuracies_are_measured_with(here):
    shard = np.load(CAMS / "test/00000.npz")
    levels = np.load(BOXES / "test/00000.npz")
    names = [str(here / f"images/{image_id}.png") for image_id in shard["image_ids"]]
    labels = [CLASSES[label] for label in shard["classes"][:, 0]]
    results = Predictor.load("model.safetensors", Options(class_from="label", batch_size=4))(names, labels)
    for i, predicted in enumerate(results):
        np.testing.assert_array_equal(predicted.score_map, shard["maps"][i, 0])
        box = levels["boxes"][i, int(0.4 * levels["standards"][i])]
        record = predicted.record
        expected = box * np.array([record.width, record.height] * 2) / 224
        np.testing.assert_allclose(record.boxes[0].xyxy, expected, rtol=1e-12)


def test_the_same_model_is_the_same_bytes_and_needs_nothing_else(here, tmp_path, monkeypatch):
    write_model_here(here / "again.safetensors")
    assert (here / "again.safetensors").read_bytes() == (here / "model.safetensors").read_bytes()
    image = here / "images/test0.png"
    expected = Predictor(load_model())([image])[0].record
    monkeypatch.chdir(tmp_path)
    shutil.move(here / "again.safetensors", tmp_path / "only.safetensors")
    model = load_model("only.safetensors")
    assert (model.facts.classes, model.facts.threshold, model.facts.data_hash) == (list(CLASSES), 0.4, "c0ffee")
    assert Predictor(model)([image])[0].record == expected


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "format 2"),
        ({"classes": ["one"]}, "cannot build"),
        ({"mean": [0.5, 0.5, 0.5]}, "cannot build"),
        ({"architecture": {"backbone": "os.system"}}, "cannot build"),
        ({"threshold": 7}, "threshold"),
        ({"extract_cams": {}}, "extract_cams"),
    ],
)
def test_a_model_of_another_version_is_refused_in_words(here, change, words):
    with safe_open("model.safetensors", "pt") as file:
        facts = json.loads(file.metadata()["wsol"])
    save_file(load_file("model.safetensors"), "other.safetensors", {"wsol": json.dumps(facts | change)})
    with pytest.raises(UserError, match=words):
        read_model(here / "other.safetensors")


@pytest.mark.parametrize("data", [b"", b"\x80\x04cposix\nsystem\n", b"\xff" * 100])
def test_a_file_that_only_claims_to_be_a_model_is_refused(tmp_path, data):
    (tmp_path / "m.safetensors").write_bytes(data)
    with pytest.raises(UserError, match="not a model file"):
        load_model(str(tmp_path / "m.safetensors"))


@pytest.mark.parametrize("name", ["models:/x", "no/such/file", "x.safetensors"])
def test_an_unknown_model_is_named(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="--model"):
        load_model(name)


def _bad_images(folder):
    good = cv2.imencode(".jpg", np.full((50, 60, 3), 90, np.uint8))[1].tobytes()
    (folder / "text.jpg").write_text("not an image")
    (folder / "empty.png").write_bytes(b"")
    (folder / "truncated.png").write_bytes(cv2.imencode(".png", np.zeros((50, 60, 3), np.uint8))[1].tobytes()[:40])
    (folder / "huge.bmp").write_bytes(b"BM" + bytes(16) + (60000).to_bytes(4, "little") * 2 + bytes(100))
    return good


def test_a_bad_image_is_one_record_and_the_rest_goes_on(here):
    folder = here / "photos"
    (folder / "deep/.hidden").mkdir(parents=True)
    good = _bad_images(folder)
    (folder / "deep/good.JPG").write_bytes(good)
    (folder / "deep/.hidden/no.jpg").write_bytes(good)
    Image.new("CMYK", (40, 30)).save(folder / "cmyk.jpg")
    Image.new("P", (40, 30)).save(folder / "moving.gif", save_all=True, append_images=[Image.new("P", (40, 30), 3)])
    result = predict([str(folder), str(folder / "gone.jpg")], out=here / "out", options=Options(batch_size=2))
    assert (result["images"], result["errors"]) == (8, 5)
    found = {Path(record["path"]).name: record["error"] for record in records(here / "out")}
    assert [name for name, error in found.items() if not error] == ["cmyk.jpg", "good.JPG", "moving.gif"]
    assert all(found[name] for name in ("text.jpg", "empty.png", "truncated.png", "huge.bmp", "gone.jpg"))


def test_nothing_readable_is_exit_code_2(here):
    _bad_images(here)
    with pytest.raises(UserError, match="none of 1 images") as caught:
        predict(["text.jpg"], out=here / "out")
    assert caught.value.exit_code == 2
    with pytest.raises(UserError, match="no image in"):
        predict([str(here / "cams")])


def test_sources_are_found_as_people_name_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/kite/1.jpg", "a/2.png", "a/notes.md", "b.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a/list.txt").write_text("2.png\nhttps://example.org/x.jpg\n")
    (tmp_path / "t.csv").write_text('label,path\n"kite","b.jpg"\n')

    def found(*names):
        return [(source.place, source.label) for source in find_sources(names, ["kite"], io.StringIO())]

    assert found("a") == [("a/2.png", ""), ("a/kite/1.jpg", "kite")]
    assert found("*.jpg") == [("b.jpg", "")]
    assert found("a/**/*.jpg") == [("a/kite/1.jpg", "kite")]
    assert found("a/list.txt") == [("a/2.png", ""), ("https://example.org/x.jpg", "")]
    assert found("t.csv", "gone.jpg") == [("b.jpg", "kite"), ("gone.jpg", "")]


def test_a_split_of_the_data_set_comes_with_its_labels_and_a_sample_is_the_same_every_time(here):
    options = Options(class_from="label", batch_size=4)
    predict([], out=here / "all", split="val", options=options)
    assert [(Path(r["path"]).name, r["class_name"]) for r in records(here / "all")] == [
        (f"val{i}.png", CLASSES[i % 2]) for i in range(3)
    ]
    for out in ("a", "b"):
        predict([], out=here / out, split="test", sample=4, options=options)
    assert contents(here / "a") == contents(here / "b")
    assert len({r["path"] for r in records(here / "a")}) == 4
    assert predict(["images"], out=here / "more", sample=99)["images"] == 15
    with pytest.raises(UserError, match="no image in gate"):
        predict([], split="gate")
    for names, split in (([], ""), (["images"], "val")):
        with pytest.raises(UserError, match="one of the two"):
            predict(names, split=split)


def test_what_was_interrupted_ends_with_the_same_files(here, monkeypatch):
    options = Options(batch_size=3)
    predict(["images"], out=here / "whole", options=options)
    predict(["images"], out=here / "part", options=options)
    journal = here / "part/predictions.jsonl"
    journal.write_bytes(journal.read_bytes()[: len(journal.read_bytes()) // 2])
    (here / "part/index.html").unlink()
    read = []
    original = Predictor._read
    monkeypatch.setattr(
        Predictor, "_read", lambda self, source, *rest: read.append(source) or original(self, source, *rest)
    )
    predict(["images"], out=here / "part", options=options, resume=True)
    assert 0 < len(read) < 15
    assert contents(here / "part") == contents(here / "whole")


@pytest.mark.slow
def test_sigkill_in_the_middle_then_resume(here):
    (here / "many").mkdir()
    for i in range(120):
        shutil.copy(here / "images/test0.png", here / f"many/{i:03d}.png")
    command = [sys.executable, "-m", "pipeline", "predict", "many", "--model", "model.safetensors", "--batch-size", "2"]
    settings = {"cwd": here, "env": environment(PYTHONPATH=str(ROOT)), "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([*command, "--out", "killed"], **settings)
    journal = here / "killed/predictions.jsonl"
    while not (journal.exists() and journal.stat().st_size):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(records(here / "killed")) < 120
    for out in (["killed", "--resume"], ["whole"]):
        assert subprocess.run([*command, "--out", *out], **settings).returncode == 0
    assert contents(here / "killed") == contents(here / "whole")


def test_results_are_never_mixed(here):
    predict(["images"], out=here / "out")
    with pytest.raises(UserError, match="exists already"):
        predict(["images"], out=here / "out")
    with pytest.raises(UserError, match="another threshold"):
        predict(["images"], out=here / "out", options=Options(threshold=0.7), resume=True)
    with pytest.raises(UserError, match="another images, sources"):
        predict(["images/test0.png"], out=here / "out", resume=True)
    with pytest.raises(UserError, match="not made by predict"):
        predict(["images"], out=here / "images", resume=True)


def test_a_full_disk_is_named_and_what_is_done_is_kept(here, monkeypatch):
    from pipeline.predict.output import Output

    original, calls = Output._write, []

    def write(self, place, data):
        calls.append(place)
        if len(calls) > 12:
            raise OSError(28, "No space left on device")
        original(self, place, data)

    options = Options(batch_size=3)
    with monkeypatch.context() as patch:
        patch.setattr(Output, "_write", write)
        with pytest.raises(UserError, match=r"No space left on device.*--resume"):
            predict(["images"], out=here / "out", options=options)
    assert 0 < len(records(here / "out")) < 15
    assert predict(["images"], out=here / "out", options=options, resume=True)["errors"] == 0


def test_no_such_device_and_no_such_class(here):
    with pytest.raises(UserError, match="--device"):
        predict(["images"], device="cuda:63")
    with pytest.raises(UserError, match="does not know dog"):
        predict(["images"], options=Options(classes=("dog",)))


def test_the_page_holds_hostile_names_as_text(here):
    hostile = here / "</script><b onmouseover=alert(1)>.png"
    with pytest.raises(OSError):
        shutil.copy(here / "images/test0.png", hostile)
    shutil.copy(here / "images/test0.png", here / "<b onmouseover=alert(1)>.png")
    predict(["images", "<b onmouseover=alert(1)>.png"], out=here / "out")
    page = (here / "out/index.html").read_text()
    assert page.count("</script>") == 1
    assert "<b onmouseover" not in page and "<img src=x" not in page
    assert "innerHTML" not in page


def test_tables_agree_and_scores_filter(here):
    predict(["images"], out=here / "out", options=Options(boxes="all", max_det=2))
    table = pd.read_parquet(here / "out/predictions.parquet")
    with (here / "out/predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(table) >= 15
    boxed = table.dropna(subset="score")
    np.testing.assert_allclose(boxed["score"], boxed["probability"] * boxed["map_mean"])
    assert (boxed["x1"] <= boxed["width"]).all()
    work = [float(row["score"]) for row in csv.DictReader((here / "out/worklist.csv").open())]
    assert work == sorted(work)
    predict(["images"], out=here / "none", options=Options(conf=1.0))
    assert not any(record["boxes"] for record in records(here / "none"))


def test_all_components_are_boxed_and_overlapping_ones_merged():
    score_map = np.zeros((224, 224), np.float32)
    score_map[10:60, 10:60] = 1
    score_map[100:200, 100:200] = 0.8
    score_map[130:150, 130:150] = 0
    score_map[135:145, 135:145] = 0.9
    score_map[220, 220] = 1
    boxes = draw_boxes(score_map, 0.5, 100.0, (224, 224), 0.5, every=True)
    assert [box.xyxy for box in boxes] == [(10, 10, 60, 60), (100, 100, 200, 200)]
    assert not draw_boxes(np.zeros((7, 7), np.float32), 0.5, 100.0, (224, 224), 0.5, every=False)


def test_names_of_files_are_safe_and_different():
    names = unique_names(["../../etc/passwd", "a.jpg", "A.png", "b/a.jpg", "", "..", "ü ß.jpg"])
    assert len({name.lower() for name in names}) == len(names)
    assert not any("/" in name or name.startswith(".") for name in names)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/loop":
                self.send_response(302)
                self.send_header("Location", "/loop")
            elif self.path in ("/image", "/large", "/slow"):
                self.send_response(200)
            elif self.path == "/file":
                self.send_response(302)
                self.send_header("Location", "file:///etc/passwd")
            else:
                self.send_response(404)
            self.end_headers()
            if self.path == "/image":
                self.wfile.write(cv2.imencode(".png", np.zeros((20, 30, 3), np.uint8))[1].tobytes())
            if self.path == "/large":
                self.wfile.write(bytes(200_000))
            if self.path == "/slow":
                time.sleep(1)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/gone", "404"),
        ("/loop", "redirected more"),
        ("/large", "more than"),
        ("/slow", "no answer"),
        ("/file", "http"),
    ],
)
def test_addresses_are_fetched_with_limits(server, path, words):
    with pytest.raises(DataError, match=words):
        fetch(server + path, allow_private=True, seconds=0.5, max_bytes=100_000)


def test_private_networks_are_fetched_from_only_when_allowed(server, here):
    for host in ("127.0.0.1", "localhost", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"):
        with pytest.raises(DataError, match="private network"):
            fetch(f"http://{host}/x")
    result = predict([f"{server}/image", "images/test0.png"], out=here / "out", options=Options(allow_private=True))
    assert result["errors"] == 0


def test_images_are_named_for_annotation_tools_below_the_folder_they_share(here):
    predict(["images"], out=here / "out", exports=["cvat", "coco-full"], options=Options(boxes="all"))
    named = read_annotations(here / "out/cvat.xml")
    assert named == read_annotations(here / "out/coco.json") and len(named) == 15
    for record in records(here / "out"):
        one = named[Path(record["path"]).name]
        assert one.frame == (record["width"], record["height"])
        assert [box.label for box in one.boxes] == [record["class_name"]] * len(record["boxes"]) != []
    with pytest.raises(UserError, match="pascal is not known"):
        predict(["images"], out=here / "none", exports=["pascal"])
    assert not (here / "none").exists()


def test_extras_are_written_when_asked_for(here):
    wants = frozenset({"images", "txt", "conf", "crop", "maps"})
    predict(["images/test0.png"], out=here / "out", wants=wants)
    record = records(here / "out")[0]
    values = [float(v) for v in (here / "out/labels/test0.txt").read_text().split()]
    assert len(values) == 6 and values[5] == pytest.approx(record["boxes"][0]["score"], abs=1e-6)
    score_map = np.load(here / "out/maps/test0.npy")
    assert score_map.shape == (224, 224) and score_map.min() == 0 and score_map.max() == 1
    assert len(list((here / "out/crops").rglob("*.jpg"))) == 1
    assert cv2.imread(str(here / "out/overlays/test0.jpg")).shape == (record["height"], record["width"], 3)


def test_the_documented_example_runs(here):
    text = (ROOT / "docs/predict.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    shutil.copy("model.safetensors", "wsol.safetensors")
    shutil.copy("images/test0.png", "bird.jpg")
    values = {}
    exec(code, values)
    predicted = values["predicted"]
    assert predicted.boxes.shape == (len(predicted.scores), 4) and len(predicted.scores)
    assert values["picture"].shape == (predicted.record.height, predicted.record.width, 3)
    x, y, width, height = values["results"][0]["bbox"]
    np.testing.assert_allclose([x, y, x + width, y + height], predicted.boxes[0], atol=0.02)
    (bad,) = values["predictor"](["gone.jpg"])
    assert bad.boxes.shape == (0, 4) and not bad.to_coco()
    with pytest.raises(UserError, match="no such file"):
        bad.plot()


def test_arrays_are_predicted_as_the_same_files_are(here):
    pixels = cv2.imread("images/test0.png")[:, :, ::-1]
    predictor = Predictor.load("model.safetensors")
    array, file, wrong = predictor([pixels, "images/test0.png", np.zeros((3, 4))])
    # A batch of one image is not computed bit by bit like another place in a larger one.
    np.testing.assert_array_equal(array.boxes, file.boxes)
    np.testing.assert_allclose(array.scores, file.scores, rtol=1e-5)
    assert "uint8" in wrong.record.error


@pytest.mark.parametrize("tau", [0.1, 0.4, 0.75])
def test_the_page_draws_the_box_of_any_threshold(here, tau):
    predictor = Predictor.load("model.safetensors", Options(threshold=tau))
    for predicted in predictor([f"images/test{i}.png" for i in range(10)]):
        step = [s for s in predicted.record.steps if s[0] <= round(100 * tau)][-1]
        np.testing.assert_allclose(step[1:], predicted.boxes[0], atol=0.051)


def test_a_tracked_run_and_a_registered_model_are_found_by_name(here, state):
    from mlflow import MlflowClient

    from pipeline.tracking.recorded import MODEL_FILE
    from pipeline.tracking.server import tracking_uri

    client = MlflowClient(tracking_uri())
    experiment = client.create_experiment("wsol", artifact_location=(state / "artifacts").as_uri())
    run_id = client.create_run(experiment).info.run_id
    with pytest.raises(UserError, match="has no artifact predict/model"):
        load_model(run_id)
    client.log_artifact(run_id, "model.safetensors", MODEL_FILE.rpartition("/")[0])
    client.create_registered_model("wsol")
    client.create_model_version("wsol", "file:///nowhere", run_id)
    client.set_registered_model_alias("wsol", "champion", "1")
    versions = {load_model(name).version for name in (run_id, "models:/wsol@champion", "models:/wsol/1")}
    assert versions == {load_model("model.safetensors").version}
    for unknown in ("0" * 32, "models:/wsol@nobody", "models:/other/1"):
        with pytest.raises(UserError):
            load_model(unknown)


@pytest.mark.parametrize("lost", ["train.crop", "extract_cams.flip"])
def test_a_result_of_another_version_is_refused_in_words(here, monkeypatch, lost):
    original = Inputs.settings
    monkeypatch.setattr(Inputs, "settings", lambda self: {k: v for k, v in original(self).items() if k != lost})
    with pytest.raises(UserError, match="another version"):
        load_model()
