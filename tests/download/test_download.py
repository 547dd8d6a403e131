"""Archives from a server that breaks off, answers wrongly or has another file, and what may be in them."""

import hashlib
import io
import re
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipeline.download import archives, command, fetch
from pipeline.download.archives import Archive, Published
from pipeline.download.unpack import unpack
from pipeline.errors import DataError, TransientError, UserError
from tests.data.make_cub import write_cub


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(fetch, "PAUSE", 0.0)


def tar(files, kind="w:gz"):
    """An archive of texts by their names; of other members as they are."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=kind) as archive:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


class Server:
    """Files over HTTP, with faults.

    Attributes:
        files: content by path.
        breaks: the next so many answers end after half of what they promise.
        ranges: what a request for the rest of a file gets: ``right``, ``ignored``, ``wrong`` (another part) or
            ``refused`` (416).
        status: of the next answers, in place of 200.
    """

    def __init__(self):
        self.files, self.breaks, self.ranges, self.status, self.asked = {}, 0, "right", [], []

    def answer(self, handler):
        self.asked.append(handler.headers.get("Range"))
        if self.status:
            handler.send_error(self.status.pop(0))
            return
        data = self.files.get(handler.path)
        if data is None:
            handler.send_error(404)
            return
        start = int((re.match(r"bytes=(\d+)-", self.asked[-1] or "bytes=0-") or [0, 0])[1])
        if start and self.ranges == "refused":
            handler.send_error(416)
            return
        part = start if self.ranges != "ignored" else 0
        if start and self.ranges == "wrong":
            part = 0
        handler.send_response(206 if start and self.ranges != "ignored" else 200)
        if start and self.ranges != "ignored":
            handler.send_header("Content-Range", f"bytes {part}-{len(data) - 1}/{len(data)}")
        body = data[part:]
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if self.breaks:
            self.breaks -= 1
            body = body[: len(body) // 2]
        handler.wfile.write(body)


@pytest.fixture
def server():
    faults = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            faults.answer(self)

        def log_message(self, *_):
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    faults.address = f"http://127.0.0.1:{served.server_port}"
    yield faults
    served.shutdown()
    served.server_close()


DATA = bytes(range(256)) * 4000
GOOD = Archive("a.bin", size=len(DATA), digest=f"sha256:{hashlib.sha256(DATA).hexdigest()}")


@pytest.mark.parametrize("ranges", ["right", "ignored", "wrong", "refused"])
def test_a_broken_connection_is_resumed_whatever_the_server_makes_of_ranges(server, tmp_path, ranges):
    server.files["/a.bin"], server.breaks, server.ranges = DATA, 1, ranges
    fetch.fetch(GOOD, f"{server.address}/a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
    assert server.asked[:2] == [None, f"bytes={len(DATA) // 2}-"]


def test_what_a_killed_call_left_is_not_fetched_again(server, tmp_path):
    server.files["/a.bin"] = DATA
    (tmp_path / "a.bin.part").write_bytes(DATA[:1000])
    fetch.fetch(GOOD, f"{server.address}/a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert server.asked == ["bytes=1000-"]


def test_a_server_that_breaks_off_again_and_again_may_be_tried_later(server, tmp_path):
    server.files["/a.bin"], server.status = DATA, [503] * 5
    (tmp_path / "a.bin.part").write_bytes(DATA[:1000])
    with pytest.raises(TransientError, match=r"1,000 bytes are kept; the same command resumes"):
        fetch.fetch(GOOD, f"{server.address}/a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin.part").read_bytes() == DATA[:1000]


def test_nobody_there_may_be_tried_later(tmp_path):
    with pytest.raises(TransientError, match="the same command resumes"):
        fetch.fetch(GOOD, "http://127.0.0.1:9/a.bin", tmp_path / "a.bin")


def test_what_the_server_does_not_have_is_said(server, tmp_path):
    with pytest.raises(UserError, match=r"answers 404 .*--mirror"):
        fetch.fetch(GOOD, f"{server.address}/b.bin", tmp_path / "a.bin")


def test_another_file_is_refused_before_it_is_fetched_or_by_its_digest(server, tmp_path):
    server.files["/a.bin"] = DATA + b"x"
    with pytest.raises(DataError, match=r"offers 1,024,001 bytes; a\.bin has 1,024,000"):
        fetch.fetch(GOOD, f"{server.address}/a.bin", tmp_path / "a.bin")
    server.files["/a.bin"] = DATA[::-1]
    with pytest.raises(DataError, match=r"a\.bin is not the published file: sha256:.* published is sha256:"):
        fetch.fetch(GOOD, f"{server.address}/a.bin", tmp_path / "a.bin")
    assert not list(tmp_path.iterdir())


def member(name, kind, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"../out": b"x"}, "outside the destination"),
        ({"/out": b"x"}, None),
        ({"l": member("l", tarfile.SYMTYPE, "/etc/passwd")}, "neither a file nor a folder"),
        ({"l": member("l", tarfile.LNKTYPE, "a")}, "neither a file nor a folder"),
        ({"p": member("p", tarfile.FIFOTYPE)}, "neither a file nor a folder"),
        ({"d": member("d", tarfile.CHRTYPE)}, "neither a file nor a folder"),
    ],
    ids=["above", "absolute", "symbolic link", "hard link", "pipe", "device"],
)
def test_nothing_leaves_the_folder_and_nothing_but_files_is_made(tmp_path, files, message):
    (tmp_path / "a.tgz").write_bytes(tar(files))
    inside = tmp_path / "deep/inside"
    if message:
        with pytest.raises(DataError, match=message):
            unpack(tmp_path / "a.tgz", inside)
    else:
        unpack(tmp_path / "a.tgz", inside)  # an absolute name loses its slash
        assert (inside / "out").read_bytes() == b"x"
    assert not (tmp_path / "deep/out").exists() and not (tmp_path / "out").exists()


def test_an_archive_that_grows_without_end_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.download.unpack.MOST_BYTES", 1000)
    (tmp_path / "a.tgz").write_bytes(tar({"a": bytes(10_000_000)}))
    with pytest.raises(DataError, match="unpacks to far more than an archive of images may"):
        unpack(tmp_path / "a.tgz", tmp_path / "to")


@pytest.mark.parametrize(
    "data", [b"", b"no archive", tar({"a": b"x" * 5000}, "w")[:4000]], ids=["empty", "text", "cut off"]
)
def test_a_damaged_archive_is_named(tmp_path, data):
    (tmp_path / "a.tgz").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.tgz is damaged, or is not a tar archive"):
        unpack(tmp_path / "a.tgz", tmp_path / "to")


def test_archives_in_an_archive_are_folders_of_their_names(tmp_path):
    inner = {f"n0{i}.tar": tar({f"n0{i}_1.JPEG": b"image"}, "w") for i in range(2)}
    (tmp_path / "train.tar").write_bytes(tar(inner, "w"))
    unpack(tmp_path / "train.tar", tmp_path / "train", nested=True)
    assert (tmp_path / "train/n01/n01_1.JPEG").read_bytes() == b"image"
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == ["n00", "n01"]


@pytest.fixture
def published(tmp_path, monkeypatch, server):
    """A tiny CUB whose archive is on the server, published there."""
    root = write_cub(tmp_path / "made/CUB_200_2011")
    files = {path.relative_to(root.parent).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    data = tar(files)
    digest = f"md5:{hashlib.md5(data).hexdigest()}"
    archive = Archive("cub.tgz", f"{server.address}/cub.tgz", len(data), digest)
    monkeypatch.setitem(archives.PUBLISHED, "cub", Published((archive,), "CUB_200_2011", "a licence", "a paper"))
    server.files |= {"/cub.tgz": data, "/mirror/cub.tgz": data}
    return data


def test_a_data_set_is_there_whole_or_not_at_all(published, server, tmp_path, capsys):
    to = tmp_path / "raw"
    server.files["/cub.tgz"] = published[::-1]
    with pytest.raises(DataError, match="is not the published file"):
        command.download("cub", to)
    assert not (to / "cub").exists()
    settings = command.download("cub", to, mirror=f"{server.address}/mirror")
    assert settings == {"prepare.dataset": "cub", "prepare.root": f"{to}/cub/CUB_200_2011"}
    assert (to / "cub/CUB_200_2011/images.txt").is_file()
    assert "a licence" in (said := capsys.readouterr().err) and "Cite: a paper" in said
    asked = len(server.asked)
    assert command.download("cub", to) == settings
    assert len(server.asked) == asked


def test_archives_of_ones_own_are_verified_and_left_where_they_are(published, tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match=r"mine has no cub\.tgz"):
        command.download("cub", tmp_path / "raw", folder=tmp_path / "mine")
    (tmp_path / "mine/cub.tgz").write_bytes(published[:-1])
    with pytest.raises(DataError, match="is not the published file"):
        command.download("cub", tmp_path / "raw", folder=tmp_path / "mine")
    (tmp_path / "mine/cub.tgz").write_bytes(published)
    command.download("cub", tmp_path / "raw", folder=tmp_path / "mine")
    assert (tmp_path / "mine/cub.tgz").read_bytes() == published
    assert (tmp_path / "raw/cub/CUB_200_2011/classes.txt").is_file()


def test_what_stands_in_its_place_is_not_touched(published, tmp_path):
    (tmp_path / "raw/cub").mkdir(parents=True)
    (tmp_path / "raw/cub/mine.txt").write_text("x")
    with pytest.raises(UserError, match="Move that folder away"):
        command.download("cub", tmp_path / "raw")
    assert (tmp_path / "raw/cub/mine.txt").read_text() == "x"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("coco", {}, "'coco' is not one of cub, pets"),
        ("ilsvrc", {}, r"signed in: .*Fetch ILSVRC2012_img_train\.tar there, then `.*download ilsvrc --from FOLDER`"),
        ("pets", {"mirror": "ftp://host"}, "ftp://host is not an http"),
        ("pets", {"mirror": "file:///etc"}, "file:///etc is not an http"),
    ],
)
def test_what_cannot_be_had_is_said(tmp_path, name, options, message):
    with pytest.raises(UserError, match=message):
        command.download(name, tmp_path / "raw", **options)
