"""Scoring folders of maps: golden values through files, every format, every error, and the command itself."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import DataError, UserError
from pipeline.files import CAMS, METRICS, PREPARED
from pipeline.scoring.map_files import BATCH
from pipeline.scoring.score import Protocol, score
from tests.golden import inputs
from tests.processes import is_alive, wait_for
from tests.sample_result import write_params, write_result, write_run

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests" / "golden" / "wsol_protocol.json").read_text())
Maps = dict[str, NDArray[np.floating]]


def save_npy(folder: Path, maps: Maps) -> Path:
    for image_id, score_map in maps.items():
        path = folder / f"{image_id}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, score_map)
    return folder


def save_stack(folder: Path, maps: Maps) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    ids = list(maps)
    for start in range(0, len(ids), 7):
        part = ids[start : start + 7]
        np.savez(folder / f"{start}.npz", image_ids=np.array(part), maps=np.stack([maps[k] for k in part]))
    return folder


def save_named(folder: Path, maps: Maps) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "all.npz", allow_pickle=False, **maps)
    return folder


def simple_truth(folder: Path, ids: list[str]) -> Path:
    folder.mkdir()
    (folder / "image_ids.txt").write_text("".join(f"{k}\n" for k in ids))
    (folder / "image_sizes.txt").write_text("".join(f"{k},224,224\n" for k in ids))
    (folder / "localization.txt").write_text("".join(f"{k},50,50,150,150\n" for k in ids))
    return folder


def small_maps(count: int, side: int = 14) -> Maps:
    random = np.random.default_rng(0)
    return {f"d{k % 3}/{k:03d}.jpg": random.random((side, side), np.float32) for k in range(count)}


@pytest.fixture(scope="module")
def box_maps(tmp_path_factory):
    """The golden box data set as files."""
    folder = tmp_path_factory.mktemp("boxes")
    rows = inputs.box_dataset()
    truth = folder / "truth"
    truth.mkdir()
    (truth / "image_ids.txt").write_text("".join(f"{k}\n" for k, *_ in rows))
    (truth / "image_sizes.txt").write_text("".join(f"{k},{w},{h}\n" for k, (w, h), *_ in rows))
    lines = [f"{k},{x0},{y0},{x1},{y1}\n" for k, _, boxes, _ in rows for x0, y0, x1, y1 in boxes]
    (truth / "localization.txt").write_text("".join(lines))
    return save_npy(folder / "maps", {k: score_map for k, *_, score_map in rows}), truth


@pytest.mark.parametrize("contours", ["single", "multi"])
@pytest.mark.parametrize("interval", [0.01, 0.001])
def test_golden_boxes(box_maps, interval, contours):
    result = score(*box_maps, Protocol(contours=contours, interval=interval))
    golden = GOLDEN[f"box_{interval}_{contours}"]
    best = {f"0.{key[0]}": acc for key, acc in golden["max_box_acc"].items()}
    thresholds = {f"0.{key[0]}": k * interval for key, k in golden["first_argmax_index"].items()}
    assert (result["images"], result["interval"], result["contours"]) == (40, interval, contours)
    assert result["max_box_acc"] == pytest.approx(best, abs=1e-9)
    assert result["max_box_acc_v2"] == pytest.approx(golden["V2_mean"], abs=1e-9)
    assert result["best_threshold"] == pytest.approx(thresholds, abs=1e-9)
    assert result["pxap"] is None


@pytest.mark.parametrize("interval", [0.01, 0.001])
def test_golden_masks(tmp_path, interval):
    lines, maps = [], {}
    for image_id, masks, ignored, score_map in inputs.mask_dataset():
        maps[image_id] = score_map
        cv2.imwrite(str(tmp_path / f"{image_id}.ignore.png"), ignored)
        for k, mask in enumerate(masks):
            cv2.imwrite(str(tmp_path / f"{image_id}.{k}.png"), mask)
            lines.append(f"{image_id},{image_id}.{k}.png,{f'{image_id}.ignore.png' if k == 0 else ''}\n")
    (tmp_path / "truth").mkdir()
    (tmp_path / "truth" / "image_ids.txt").write_text("".join(f"{k}\n" for k in maps))
    (tmp_path / "truth" / "localization.txt").write_text("".join(lines))
    protocol = Protocol(metric="masks", interval=interval)
    result = score(save_npy(tmp_path / "maps", maps), tmp_path / "truth", protocol, mask_root=tmp_path)
    assert result["pxap"] == pytest.approx(GOLDEN[f"PxAP_{interval}"], abs=1e-9)
    assert result["max_box_acc"] is None


@pytest.mark.parametrize("save", [save_npy, save_stack, save_named])
@pytest.mark.parametrize("processes", [1, 2])
def test_every_format_and_number_of_processes_scores_alike(tmp_path, save, processes):
    maps = small_maps(BATCH + 10)
    truth = simple_truth(tmp_path / "truth", list(maps))
    expected = score(save_npy(tmp_path / "expected", maps), truth, Protocol())
    assert 0 < expected["max_box_acc_v2"] < 100
    assert score(save(tmp_path / "maps", maps), truth, Protocol(), processes=processes) == expected


def test_files_and_shards_may_stand_beside_each_other(tmp_path):
    maps = small_maps(9)
    truth = simple_truth(tmp_path / "truth", list(maps))
    ids = list(maps)
    save_npy(tmp_path / "maps", {k: maps[k] for k in ids[:4]})
    save_stack(tmp_path / "maps", {k: maps[k] for k in ids[4:]})
    assert score(tmp_path / "maps", truth, Protocol())["images"] == 9


def test_a_map_of_the_frames_size_is_taken_as_it_is_and_any_other_is_normalised(tmp_path):
    half = np.zeros((224, 224))
    half[50:150, 50:150] = 0.5
    truth = simple_truth(tmp_path / "truth", ["a"])
    as_is = score(save_npy(tmp_path / "maps", {"a": half}), truth, Protocol(interval=0.25))
    # The grey value 127 is the standard: every threshold keeps the square.
    assert as_is["max_box_acc"]["0.7"] == 100.0
    flat = {"a": np.full((14, 14), 0.5)}
    assert score(save_npy(tmp_path / "flat", flat), truth, Protocol())["max_box_acc"]["0.3"] == 0.0


def test_another_size_moves_maps_and_truth_alike(tmp_path):
    maps = {"a": np.pad(np.ones((10, 10)), 2)}
    truth = simple_truth(tmp_path / "truth", ["a"])
    result = score(save_npy(tmp_path / "maps", maps), truth, Protocol(size=14, iou=(0.4, 0.41)))
    # Map box 2 … 12, true box 3 … 9, ends included: IoU 49/121.
    assert result["max_box_acc"] == {"0.4": 100.0, "0.41": 0.0}


def test_missing_and_extra_maps_are_counted_before_anything_is_scored(tmp_path, capsys):
    maps = small_maps(30)
    truth = simple_truth(tmp_path / "truth", list(maps)[:28])
    save_npy(tmp_path / "maps", {k: v for n, (k, v) in enumerate(maps.items()) if n >= 15})
    with pytest.raises(DataError) as error:
        score(tmp_path / "maps", truth, Protocol())
    message = str(error.value)
    assert "15 of 28 images have no map" in message
    assert f"{tmp_path}/maps/d0/000.jpg.npy" in message
    assert "d0/009.jpg, … (5 more)" in message
    assert "2 of 15 maps belong to no image of the truth: d1/028.jpg, d2/029.jpg" in message
    assert "scoring" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (np.full((5, 5), np.nan), "NaN in 25 of 25 values"),
        (np.full((5, 5), 1.5), r"expected values in \[0, 1\], found 1.5 … 1.5"),
        (np.full((224, 224), -0.1), r"expected values in \[0, 1\], found -0.1"),
        (np.zeros((3, 5, 5)), r"expected a map of shape \(h, w\), found \(3, 5, 5\)"),
        (np.zeros((0, 5)), r"found \(0, 5\)"),
        (np.full((5, 5), "x"), "expected numbers, found <U1"),
        (np.full((5, 5), None), "cannot be read"),
    ],
)
@pytest.mark.parametrize("processes", [1, 2])
def test_a_damaged_map_is_named_and_the_others_are_scored(tmp_path, capsys, damaged, message, processes):
    maps = small_maps(BATCH + 2)
    save_npy(tmp_path / "maps", maps | {"d1/004.jpg": damaged})
    truth = simple_truth(tmp_path / "truth", list(maps))
    with pytest.raises(DataError, match=f"1 of 66 images could not be scored:\n.*d1/004.jpg.npy: .*{message}"):
        score(tmp_path / "maps", truth, Protocol(), processes=processes)
    shown = capsys.readouterr().err
    assert "65 of 66 images" in shown
    rest = {k: v for k, v in maps.items() if k != "d1/004.jpg"}
    alone = score(save_npy(tmp_path / "rest", rest), simple_truth(tmp_path / "rest_truth", list(rest)), Protocol())
    assert json.dumps(alone) in shown.splitlines()


def test_of_many_damaged_maps_ten_are_named(tmp_path):
    maps = {f"{k:02d}": np.full((4, 4), np.nan) for k in range(12)}
    truth = simple_truth(tmp_path / "truth", list(maps))
    with pytest.raises(DataError, match="12 of 12 images could not be scored, the first 10 of them") as error:
        score(save_named(tmp_path / "maps", maps), truth, Protocol())
    assert str(error.value).count("all.npz, ") == 10


def test_a_file_cut_short_is_named(tmp_path):
    truth = simple_truth(tmp_path / "truth", ["a"])
    path = save_npy(tmp_path / "maps", {"a": np.zeros((50, 50))}) / "a.npy"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match=r"a\.npy: cannot be read"):
        score(tmp_path / "maps", truth, Protocol())


def test_folders_that_hold_no_maps(tmp_path):
    truth = simple_truth(tmp_path / "truth", ["a"])
    with pytest.raises(UserError, match="is not a folder"):
        score(tmp_path / "none", truth, Protocol())
    with pytest.raises(UserError, match="holds no map"):
        score(truth, truth, Protocol())


def test_a_shard_that_is_no_shard(tmp_path):
    truth = simple_truth(tmp_path / "truth", ["a"])
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "0.npz").write_text("no zip")
    with pytest.raises(DataError, match=r"0\.npz is not a readable \.npz shard"):
        score(tmp_path / "maps", truth, Protocol())
    np.savez(tmp_path / "maps" / "0.npz", image_ids=np.array("a"), maps=np.zeros((1, 5, 5)))
    with pytest.raises(DataError, match=r"expected image_ids of shape \(n,\), found \(\)"):
        score(tmp_path / "maps", truth, Protocol())
    np.savez(tmp_path / "maps" / "0.npz", image_ids=np.array(["a"]), maps=np.zeros((1, 2, 5, 5)))
    with pytest.raises(
        DataError, match=r"expected maps of shape \(1, h, w\) for its 1 image_ids, found \(1, 2, 5, 5\)"
    ):
        score(tmp_path / "maps", truth, Protocol())


def test_all_damaged_shards_are_counted_before_anything_is_scored(tmp_path):
    truth = simple_truth(tmp_path / "truth", ["a"])
    maps = save_npy(tmp_path / "maps", {"a": np.eye(4)})
    for k in range(12):
        (maps / f"{k:02d}.npz").write_bytes(b"")
    with pytest.raises(DataError, match="12 of 12 shards are damaged; nothing was scored, the first 10") as error:
        score(maps, truth, Protocol())
    assert str(error.value).count(".npz shard") == 10


@pytest.mark.parametrize("save", [save_stack, save_named])
def test_maps_damaged_within_their_shard_are_named_and_the_others_are_scored(tmp_path, capsys, save):
    maps = small_maps(6)
    folder = save(tmp_path / "maps", maps)
    truth = simple_truth(tmp_path / "truth", [*maps, "whole"])
    save_npy(folder, {"whole": np.eye(4)})
    (shard,) = folder.glob("*.npz")
    content = bytearray(shard.read_bytes())
    with zipfile.ZipFile(shard) as archive:
        name = "maps.npy" if save is save_stack else "d0/003.jpg.npy"
        entry = archive.getinfo(name)
    end = entry.header_offset + 30 + len(name) + entry.compress_size
    content[end - 20 : end] = bytes(20)
    shard.write_bytes(content)
    damaged = 6 if save is save_stack else 1
    with pytest.raises(DataError, match=f"{damaged} of 7 images could not be scored:.*") as error:
        score(folder, truth, Protocol())
    assert f"{shard}, d0/003.jpg: cannot be read: " in str(error.value)
    assert f"{7 - damaged} of 7 images" in capsys.readouterr().err


def bomb(path, shape=(10_000, 10_000, 10_000), descr="<f4", content=b""):
    """A file of a hundred bytes whose header claims an array of any size."""
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
        stream.write(content)
    return path


class Trap:
    """An object whose unpickling leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (bomb, r"claims shape \(10000, 10000, 10000\), 4,000,000,000,000 bytes; 536,870,912 are read"),
        (
            lambda path: bomb(path, (5000, 5000)),
            r"claims shape \(5000, 5000\), 100,000,000 bytes, more than are stored",
        ),
        (lambda path: bomb(path, (-1, 5), content=bytes(20)), r"claims shape \(-1, 5\)"),
        (lambda path: os.truncate(bomb(path, (1, 8192**2 + 1), "|b1"), 70 << 20), "at most 67,108,864 values"),
        (lambda path: np.save(path, np.full((4, 4), np.inf)), r"expected values in \[0, 1\], found inf"),
        (lambda path: np.save(path, np.array([[Trap(path.with_name("sprung"))]]), allow_pickle=True), "Python objects"),
        (lambda path: np.save(path, np.full((4, 4), 0.5j)), "expected numbers, found complex128"),
    ],
)
def test_maps_made_to_do_harm_are_named(tmp_path, make, reason):
    truth = simple_truth(tmp_path / "truth", ["a", "b"])
    maps = save_npy(tmp_path / "maps", {"b": np.eye(4)})
    make(maps / "a.npy")
    with pytest.raises(DataError, match=rf"1 of 2 images could not be scored:\n  \S+a\.npy: .*{reason}"):
        score(maps, truth, Protocol())
    assert not (maps / "sprung").exists()


@pytest.mark.timeout(20)
@pytest.mark.parametrize("member", ["a", "maps", "image_ids"])
def test_shards_made_to_do_harm_are_named(tmp_path, member):
    truth = simple_truth(tmp_path / "truth", ["a"])
    (tmp_path / "maps").mkdir()
    with zipfile.ZipFile(tmp_path / "maps/0.npz", "w") as archive:
        for name in {member, *({"maps", "image_ids"} if member != "a" else {})}:
            archive.write(bomb(tmp_path / "bomb"), f"{name}.npy")
    with pytest.raises(DataError, match=r"0\.npz.*its header claims shape \(10000, 10000, 10000\)"):
        score(tmp_path / "maps", truth, Protocol())


def test_a_shard_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path, monkeypatch):
    truth = simple_truth(tmp_path / "truth", ["a"])
    (tmp_path / "maps").mkdir()
    np.savez_compressed(tmp_path / "maps/0.npz", image_ids=np.array(["a"]), maps=np.zeros((1, 1000, 1000)))
    monkeypatch.setattr("pipeline.scoring.map_files.MAX_STACK_BYTES", 7_999_999)
    with pytest.raises(DataError, match="8,000,000 bytes; 7,999,999 are read at a time"):
        score(tmp_path / "maps", truth, Protocol())


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["a.npy", "d/0.npz"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_only_regular_files_are_opened(tmp_path, name, make):
    truth = simple_truth(tmp_path / "truth", ["a"])
    (tmp_path / "maps/d").mkdir(parents=True)
    make(tmp_path / "maps" / name)
    np.save(tmp_path / "maps/b.npy", np.eye(4))
    with pytest.raises(DataError, match=rf"are not regular files: {name}|maps and truth do not match"):
        score(tmp_path / "maps", truth, Protocol())


@pytest.mark.timeout(20)
def test_links_are_followed_and_circles_are_not(tmp_path):
    maps = {"d/a": np.eye(4), "e/d/a": np.eye(4)}
    truth = simple_truth(tmp_path / "truth", list(maps))
    folder = save_npy(tmp_path / "maps", {"d/a": maps["d/a"]})
    (folder / "e").mkdir()
    (folder / "e/d").symlink_to("../d")
    (folder / "d/up").symlink_to("..")
    assert score(folder, truth, Protocol())["images"] == 2


def test_the_maps_of_this_pipeline_score_as_evaluate_scores_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    write_run(tmp_path)
    write_result()
    expected = json.loads((METRICS / "metrics.json").read_text())
    for split in ("val", "test"):
        boxes = score(CAMS / split, PREPARED, Protocol(contours="single"))
        assert boxes["images"] == expected[split]["images"]
        assert {
            f"max_box_acc_iou{100 * float(d):.0f}": acc for d, acc in boxes["max_box_acc"].items()
        } == pytest.approx({k: v for k, v in expected[split].items() if k.startswith("max_box_acc_iou")}, abs=1e-9)
        masks = score(CAMS / split, PREPARED, Protocol(metric="masks"))
        assert masks["pxap"] == pytest.approx(expected[split]["pxap"], abs=1e-9)
    assert score(CAMS, PREPARED, Protocol(), processes=2)["images"] == sum(
        split["images"] for split in expected.values() if isinstance(split, dict)
    )


def test_raw_maps_that_are_not_numbers_are_named(tmp_path):
    maps = np.full((1, 2, 4, 4), np.nan, np.float32)
    (tmp_path / "maps").mkdir()
    np.savez(tmp_path / "maps/0.npz", image_ids=np.array(["a"]), classes=np.zeros((1, 2), int), maps=maps)
    with pytest.raises(DataError, match=r"0\.npz, a: NaN in 16 of 16 values"):
        score(tmp_path / "maps", simple_truth(tmp_path / "truth", ["a"]), Protocol())


def test_names_that_differ_in_their_unicode_form_are_pointed_out(tmp_path):
    truth = simple_truth(tmp_path / "truth", ["M\u00fc/x.jpg"])
    maps = save_npy(tmp_path / "maps", {"Mu\u0308/x.jpg": np.eye(4)})
    with pytest.raises(DataError, match=r"1 of them exist under a name that differs only in Unicode form .*'Mu\\u0308"):
        score(maps, truth, Protocol())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00\x10\x00{'descr': ('<f8'\n"])
def test_a_file_that_is_no_array_is_named(tmp_path, content):
    truth = simple_truth(tmp_path / "truth", ["a"])
    maps = save_npy(tmp_path / "maps", {"a": np.zeros((4, 4))})
    (maps / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npy: cannot be read: \S+"):
        score(maps, truth, Protocol())


def test_ids_of_a_shard_may_be_bytes(tmp_path):
    maps = small_maps(3)
    (tmp_path / "maps").mkdir()
    np.savez(tmp_path / "maps" / "0.npz", image_ids=np.array(list(maps), "S"), maps=np.stack(list(maps.values())))
    assert score(tmp_path / "maps", simple_truth(tmp_path / "truth", list(maps)), Protocol())["images"] == 3


def test_criteria_that_differ_in_a_late_digit_have_names_of_their_own(tmp_path):
    maps = {"a": np.pad(np.ones((10, 10)), 2)}
    truth = simple_truth(tmp_path / "truth", ["a"])
    iou = (49 / 121, 49 / 121 + 1e-9)
    result = score(save_npy(tmp_path / "maps", maps), truth, Protocol(size=14, iou=iou))
    assert result["max_box_acc"] == {str(iou[0]): 100.0, str(iou[1]): 0.0}


def test_two_maps_of_one_image(tmp_path):
    maps = {"a": np.zeros((4, 4))}
    save_stack(save_npy(tmp_path / "maps", maps), maps)
    with pytest.raises(DataError, match="1 images have several maps"):
        score(tmp_path / "maps", simple_truth(tmp_path / "truth", ["a"]), Protocol())


def test_masks_without_any_foreground(tmp_path):
    cv2.imwrite(str(tmp_path / "m.png"), np.zeros((4, 4), np.uint8))
    truth = simple_truth(tmp_path / "truth", ["a"])
    (truth / "localization.txt").write_text("a,m.png,\n")
    maps = save_npy(tmp_path / "maps", {"a": np.eye(4)})
    with pytest.raises(DataError, match="no foreground pixel in the whole set"):
        score(maps, truth, Protocol(metric="masks"), mask_root=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interval": 0.0}, "--interval must lie in"),
        ({"interval": 1e-9}, "--interval must lie in"),
        ({"iou": (30.0,)}, r"--iou takes different criteria in \(0, 1\]"),
        ({"iou": (0.5, 0.5)}, "--iou takes different criteria"),
        ({"size": 0}, "--size must lie in"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(UserError, match=message):
        Protocol(**options)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", "score", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_prints_json_on_stdout_and_a_table_on_stderr(box_maps):
    maps, truth = box_maps
    done = run("--maps", maps, "--truth", truth, "--iou", 0.3, 0.5, "--interval", 0.01, "--contours", "single")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    golden = GOLDEN["box_0.01_single"]["max_box_acc"]
    assert result["max_box_acc"] == pytest.approx({"0.3": golden["30"], "0.5": golden["50"]}, abs=1e-9)
    assert result["max_box_acc_v2"] == pytest.approx((golden["30"] + golden["50"]) / 2, abs=1e-9)
    assert "MaxBoxAcc, IoU 0.5" in done.stderr


def test_the_command_fails_without_a_traceback(box_maps, tmp_path):
    maps, _ = box_maps
    done = run("--maps", maps, "--truth", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "image_ids.txt does not exist" in done.stderr
    assert "Traceback" not in done.stderr


#: A pool as `score` makes it, of processes that wait.
POOL = """\
import sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from pipeline.scoring.score import _start_process

with ProcessPoolExecutor(2, get_context("fork"), _start_process, (None,)) as pool:
    waiting = [pool.submit(time.sleep, 120) for _ in range(2)]
    Path("pids").write_text(" ".join(str(pid) for pid in pool._processes))
    time.sleep(120)
"""


def test_the_processes_of_a_pool_end_with_a_killed_parent(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, "-c", POOL], cwd=tmp_path, env=environment)
    wait_for(lambda: (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().split()) == 2, "the pool")
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert all(map(is_alive, pids))
    parent.kill()
    parent.wait()
    wait_for(lambda: not any(map(is_alive, pids)), "the end of the pool", 10)
