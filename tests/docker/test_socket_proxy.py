"""The proxy of the Docker socket, in front of a stand-in for the engine."""

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer

import h11
import pytest

from tests.docker.stack import wait_for

TOOLS = Path(__file__).parents[2] / "docker/tools"
SCRIPT = TOOLS / "socket_proxy.py"
sys.path.insert(0, str(TOOLS))
import container_rules  # noqa: E402
import socket_proxy as proxy  # noqa: E402

RULES = container_rules.Rules(
    "wsol/pipeline:1", frozenset({"work", "raw"}), frozenset({"raw"}), frozenset({"tasks"}), 2**30, 100
)
MOUNT = {"Type": "volume", "Source": "work", "Target": "/srv/wsol"}
HOST = {
    "ReadonlyRootfs": True, "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"], "NetworkMode": "tasks",
    "Mounts": [MOUNT], "Tmpfs": {"/tmp": ""}, "Privileged": False,
    "Memory": 2**30, "MemorySwap": 2**30, "PidsLimit": 100,
    "DeviceRequests": [{"DeviceIDs": ["0"], "Capabilities": [["gpu"]]}],
}  # fmt: skip
WANTED = {"Image": "wsol/pipeline:1", "Labels": {"wsol.task": "x"}, "HostConfig": HOST, "User": "", "Env": ["A=b"]}


def passed_on(wanted):
    return json.loads(proxy.checked_container(json.dumps(wanted).encode(), RULES))


def check(**host):
    return passed_on(WANTED | {"HostConfig": HOST | host})


def test_what_the_runtime_asks_for_is_let_through():
    raw = {"Type": "volume", "Source": "raw", "Target": "/srv/raw", "ReadOnly": True}
    made = check(Mounts=[MOUNT, raw], LogConfig={"Type": None, "Config": {}}, Ulimits=[], ShmSize=1024)
    said = {key: value for key, value in HOST.items() if key != "Privileged"}
    assert made["HostConfig"] == said | {"Mounts": [MOUNT, raw], "ShmSize": 1024}
    assert {key: value for key, value in made.items() if key != "HostConfig"} == {
        "Image": "wsol/pipeline:1", "Labels": {"wsol.task": "x"}, "Env": ["A=b"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ({"Privileged": True}, "HostConfig.Privileged may not be set"),
        ({"Binds": ["/:/host"]}, "HostConfig.Binds may not be set"),
        ({"PidMode": "host"}, "HostConfig.PidMode may not be set"),
        ({"CapAdd": ["SYS_ADMIN"]}, "HostConfig.CapAdd may not be set"),
        ({"Devices": [{"PathOnHost": "/dev/sda"}]}, "HostConfig.Devices may not be set"),
        ({"Mounts": [{"Type": "bind", "Source": "/", "Target": "/host"}]}, "mounts are volumes"),
        ({"Mounts": [{"Type": "volume", "Source": "wsol_postgres", "Target": "/x"}]}, "mounts are volumes"),
        (
            {"Mounts": [MOUNT | {"VolumeOptions": {"DriverConfig": {"Options": {"o": "bind"}}}}]},
            "VolumeOptions may not be set",
        ),
        ({"NetworkMode": "host"}, "network must be one of"),
        ({"NetworkMode": "container:wsol-postgres-1"}, "network must be one of"),
        ({"ReadonlyRootfs": False}, "read only"),
        ({"CapDrop": []}, "capabilities must be dropped"),
        ({"SecurityOpt": ["seccomp=unconfined"]}, "no-new-privileges"),
        ({"SecurityOpt": []}, "no-new-privileges"),
        ({"SecurityOpt": ["no-new-privileges=false"]}, "no-new-privileges"),
        ({"SecurityOpt": ["no-new-privileges", "seccomp=unconfined"]}, "no-new-privileges"),
        ({"privileged": True}, "HostConfig.privileged may not be set"),
        ({"Mounts": [MOUNT | {"type": "bind", "source": "/"}]}, "a mount's source, type may not be set"),
        ({"Mounts": [{"Type": "volume", "Source": "raw", "Target": "/srv/raw"}]}, "raw is read only"),
        ({"LogConfig": {"Type": "syslog", "Config": {}}}, "LogConfig may not be set"),
        ({"LogConfig": {"Config": {"syslog-address": "tcp://evil:1"}}}, "LogConfig may not be set"),
        ({"DeviceRequests": [{"Capabilities": [["gpu"]], "Driver": "cdi"}]}, "a device's Driver may not be set"),
        ({"DeviceRequests": [{"Capabilities": [["tpu"]]}]}, "devices are GPUs"),
        ({"Tmpfs": {"/etc": ""}}, "only tmpfs is /tmp"),
        ({"Mounts": []}, "a task has a volume of its stack"),
        ({"Memory": 0}, "Memory must be at most"),
        ({"Memory": -1}, "Memory must be at most"),
        ({"Memory": 2**30 + 1}, "Memory must be at most"),
        ({"Memory": "1g"}, "cannot be read"),
        ({"MemorySwap": -1}, "no swap besides"),
        ({"PidsLimit": 0}, "PidsLimit must be at most 100"),
        ({"PidsLimit": -1}, "PidsLimit must be at most 100"),
        ({"PidsLimit": 101}, "PidsLimit must be at most 100"),
        ({"OomKillDisable": True}, "HostConfig.OomKillDisable may not be set"),
        ({"Ulimits": [{"Name": "nofile", "Hard": 1, "Soft": 1}]}, "HostConfig.Ulimits may not be set"),
    ],
)
def test_what_could_become_root_is_refused(host, message):
    with pytest.raises(proxy.Refused, match=message):
        check(**host)


def test_a_task_may_be_on_no_network():
    assert check(NetworkMode="none")["HostConfig"]["NetworkMode"] == "none"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Image": "evil"}, "image must be"),
        ({"User": "root"}, "User may not be set"),
        ({"Labels": {}}, "label wsol.task must be set"),
        ({"NetworkingConfig": {"EndpointsConfig": {"wsol_services": {}}}}, "NetworkingConfig may not be set"),
        ({"hostconfig": {"Privileged": True}}, "hostconfig may not be set"),
        ({"HostConfig": None}, "network must be one of"),
    ],
)
def test_another_image_or_user_is_refused(change, message):
    with pytest.raises(proxy.Refused, match=message):
        passed_on(WANTED | change)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"HostConfig": 1}', b"{}", b'{"Image": "wsol/pipeline:1", "Labels": 1}']
)
def test_what_cannot_be_read_is_refused(body):
    with pytest.raises(proxy.Refused):
        proxy.checked_container(body, RULES)


@pytest.mark.parametrize(
    "said",
    [
        '"HostConfig": {"Privileged": true, "Binds": ["/:/host"], "PidMode": "host"}',
        '"User": "0:0", "User": null',
        '"hostconfig": null, "Hostconfig": {}',
    ],
)
def test_the_engine_hears_only_what_was_checked(said):
    """Its reader merges repeated keys, passes over null and takes keys of any case; ours knows the last of each."""
    made = json.loads(proxy.checked_container(f"{{{said}, {json.dumps(WANTED)[1:]}".encode(), RULES))
    assert made == passed_on(WANTED)


@pytest.mark.parametrize("key", ["capdrop", "readonlyrootfs", "securityopt", "MaskedPaths", "ReadonlyPaths"])
@pytest.mark.parametrize("nothing", [[], False, None, ""])
def test_nothing_takes_the_hardening_back(key, nothing):
    assert check(**{key: nothing}) == passed_on(WANTED)


#: Answers of an engine, by the container that is asked for, that say nothing of it.
ODD = {
    "in-trouble": (500, b'{"message": "no space left on device"}'),
    "moved": (301, b""),
    "denied": (401, b"{}"),
    "no-json": (200, b"<html>"),
    "no-object": (200, b"[]"),
    "no-config": (200, b"{}"),
    "no-labels": (200, b'{"Config": {"Labels": 5}, "HostConfig": {}}'),
    "huge": (200, b" " * (5 << 20)),
}


#: Network and volume of containers that have a task's label and are none of this stack.
OTHERS = {
    "task-of-another-stack": ("other_tasks", "other_work"),
    "its-task-without-network": ("none", "other_work"),
    "task-without-volume": ("none", ""),
}


class Handler(BaseHTTPRequestHandler):
    """Answers like an engine whose containers are tasks of ours, but for some."""

    protocol_version = "HTTP/1.1"
    asked: list[str] = []  # noqa: RUF012
    bodies: list[bytes] = []  # noqa: RUF012
    headers_: list[str] = []  # noqa: RUF012

    def do_GET(self):
        self.asked.append(self.requestline)
        self.headers_.append(str(self.headers))
        self.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        found = "/gone" not in self.path
        labels = {} if "postgres" in self.path else {"wsol.task": "x"}
        network, volume = OTHERS.get(self.path.split("/")[-2], ("tasks", "work"))
        host = {"NetworkMode": network, "Mounts": [{"Source": volume}] if volume else None}
        body = json.dumps(
            {"Config": {"Labels": labels}, "HostConfig": host} if found else {"message": "No such container"}
        ).encode()
        asked = self.path.split("/")[-2]
        body = ODD.get(asked, (0, body))[1]
        self.send_response(ODD[asked][0] if asked in ODD else 200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_DELETE = do_HEAD = do_GET

    def address_string(self):
        return "client"

    def log_message(self, *_):
        pass


class Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("docker", timeout=20)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def answers(path):
    try:
        Connection(path).connect()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def socket_(tmp_path_factory):
    """The proxy's socket, in front of the stand-in."""
    folder = tmp_path_factory.mktemp("proxy")
    server = Server(str(folder / "engine.sock"), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    listen = folder / "proxy.sock"
    variables = {"PROXY_ENGINE": str(folder / "engine.sock"), "PROXY_LISTEN": str(listen),
                 "PROXY_IMAGE": RULES.image, "PROXY_VOLUMES": "work,raw:ro", "PROXY_NETWORKS": "tasks",
                 "PROXY_MEMORY_MIB": "1024", "PROXY_PIDS": "100"}  # fmt: skip
    process = subprocess.Popen([sys.executable, SCRIPT], env=os.environ | variables, stdout=subprocess.DEVNULL)
    wait_for(lambda: answers(listen), "the proxy", 60)
    yield listen
    process.kill()
    process.wait()
    server.shutdown()
    server.server_close()


@pytest.fixture
def listen(socket_):
    """The same, in front of a stand-in that was asked nothing yet."""
    for noted in (Handler.asked, Handler.bodies, Handler.headers_):
        noted.clear()
    return socket_


@pytest.fixture
def ask(listen):
    """Ask the proxy; the answer's status and text."""

    def asked(method, path, body=None):
        connection = Connection(listen)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    return asked


@pytest.fixture
def send(listen):
    """Send bytes to the proxy; all that it answers."""

    def sent(data):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(str(listen))
        connection.sendall(data)
        answer = b""
        while chunk := connection.recv(1 << 16):
            answer += chunk
        return answer

    return sent


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/_ping"), ("GET", "/v1.41/version"), ("GET", "/v1.41/images/json?filter=x"),
     ("GET", "/v1.41/containers/mine/json"), ("POST", "/v1.41/containers/mine/start"),
     ("POST", "/v1.41/containers/mine/stop?t=4"), ("POST", "/v1.41/containers/mine/wait"),
     ("DELETE", "/v1.41/containers/mine?force=True")],
)  # fmt: skip
def test_what_the_operator_needs_reaches_the_engine(ask, method, path):
    assert ask(method, path)[0] == 200
    assert Handler.asked[-1] == f"{method} {path} HTTP/1.1"


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1.41/containers/mine/exec"), ("GET", "/v1.41/containers/json"), ("POST", "/v1.41/images/create"),
     ("POST", "/v1.41/build"), ("GET", "/v1.41/info"), ("POST", "/v1.41/volumes/create"), ("GET", "/v1.41/secrets"),
     ("PUT", "/v1.41/containers/mine/archive"), ("POST", "/v1.41/containers/mine/json"), ("DELETE", "/images/x"),
     ("GET", "/v1.41/containers/mine/../postgres/json"), ("DELETE", "/v1.41/containers/.."),
     ("GET", "/v1.41/containers/mine%2f..%2fpostgres/json")],
)  # fmt: skip
def test_nothing_else_does(ask, method, path):
    status, text = ask(method, path)
    assert status == 403
    assert "socket proxy" in text
    assert Handler.asked == []


@pytest.mark.parametrize(("method", "end"), [("GET", "/json"), ("POST", "/stop"), ("DELETE", ""), ("POST", "/attach")])
@pytest.mark.parametrize("container", ["wsol-postgres-1", *OTHERS])
def test_other_containers_can_be_neither_seen_nor_stopped(ask, method, end, container):
    status, text = ask(method, f"/v1.41/containers/{container}{end}")
    assert status == 403
    assert "is not a container of Airflow's tasks" in text
    assert Handler.asked == [f"GET /v1.41/containers/{container}/json HTTP/1.1"]


def test_a_container_that_is_not_there_is_the_engines_answer(ask):
    assert ask("DELETE", "/v1.41/containers/gone") == (404, '{"message": "No such container"}')


@pytest.mark.parametrize("container", ODD)
@pytest.mark.parametrize(("method", "end"), [("POST", "/start"), ("POST", "/attach"), ("GET", "/json")])
def test_a_container_that_the_engine_does_not_describe_is_not_used(ask, container, method, end):
    status, text = ask(method, f"/v1.41/containers/{container}{end}")
    assert status == 403 and "socket proxy" in text
    assert Handler.asked == [f"GET /v1.41/containers/{container}/json HTTP/1.1"]


def running(tmp_path, work, **patches):
    """What `work` makes of a socket served by the proxy's own code, with other limits."""

    async def served():
        path = str(tmp_path / "limited.sock")

        def welcome(*streams):
            return proxy.serve(proxy.Peer(h11.SERVER, streams), RULES)

        async with await asyncio.start_unix_server(welcome, path):
            return await asyncio.wait_for(work(path), 20)

    with pytest.MonkeyPatch.context() as patch:
        for name, value in patches.items():
            patch.setattr(proxy, name, value)
        return asyncio.run(served())


async def exchange(path, data):
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET /_ping HTTP/1.1\r\nX: y",
        b"POST /containers/create HTTP/1.1\r\n",
        b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
    ],
)
def test_a_client_that_does_not_finish_its_request_is_sent_away(tmp_path, said):
    answer = running(tmp_path, lambda path: exchange(path, said), PATIENCE=0.05)
    assert answer.startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("path_", [b"GET /_ping", b"POST /containers/mine/start"])
def test_an_engine_that_is_away_is_said_to_be(tmp_path, path_):
    request_ = path_ + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = running(tmp_path, lambda path: exchange(path, request_), ENGINE=str(tmp_path / "none.sock"))
    assert answer.startswith(b"HTTP/1.1 503 ")


def test_an_engine_that_does_not_describe_in_time_lets_nothing_through(tmp_path):
    async def work(path):
        async with await asyncio.start_unix_server(lambda *_: asyncio.sleep(10), str(tmp_path / "mute.sock")):
            return await exchange(path, b"POST /containers/mine/start HTTP/1.1\r\nHost: x\r\n\r\n")

    assert running(tmp_path, work, ENGINE=str(tmp_path / "mute.sock"), PATIENCE=0.05).startswith(b"HTTP/1.1 503 ")


def test_too_many_clients_at_once_are_sent_away(listen):
    held = [socket.socket(socket.AF_UNIX) for _ in range(proxy.MOST_CLIENTS)]
    for connection in held:
        connection.connect(str(listen))
    late = socket.socket(socket.AF_UNIX)
    late.connect(str(listen))
    late.settimeout(20)
    assert late.recv(1 << 16).startswith(b"HTTP/1.1 503 ")
    for connection in [*held, late]:
        connection.close()


def test_a_harmful_container_is_refused_and_a_harmless_one_made(ask):
    harmful = WANTED | {"HostConfig": HOST | {"Privileged": True}}
    assert ask("POST", "/v1.41/containers/create?name=x", json.dumps(harmful))[0] == 403
    assert Handler.asked == []
    assert ask("POST", "/v1.41/containers/create?name=x", json.dumps(WANTED))[0] == 200
    assert json.loads(Handler.bodies[-1]) == passed_on(WANTED)


def test_the_start_of_a_container_has_no_body(ask):
    """The engine's API before 1.24 took the host part of the description there."""
    assert ask("POST", "/v1.23/containers/mine/start", json.dumps({"Privileged": True}))[0] == 200
    assert Handler.bodies == [b"", b""]


HIDDEN = b"POST /containers/create HTTP/1.1\nHost: x\nContent-Length: 2\n\n{}"
PING = b"GET /_ping HTTP/1.1\r\nHost: x\r\n"
CREATE = b"POST /containers/create HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        PING + b"X: a\r\r" + HIDDEN + b"\r\n\r\n",
        PING + b"X\r\n\r\n",
        PING + b"X: a\0b\r\n\r\n",
        b"GET /_ping?\n\n HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /_ping\tHTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /_ping HTTP/1.1\r\n\r\n",
        b"GET /_ping HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET http://docker/_ping HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /_ping\r\n\r\n",
        PING + b"Transfer-Encoding : chunked\r\n\r\n",
        CREATE + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        CREATE + b"Transfer-Encoding: xchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        CREATE + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN,
        CREATE + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        CREATE + b"Content-Length: +2\r\n\r\n{}",
        CREATE + b"Content-Length: 1048577\r\n\r\n",
        CREATE + b"Content-Length: 99999999999999999999999999\r\n\r\n",
        PING + b"X: " + b"x" * (1 << 17) + b"\r\n\r\n",
        PING + b"".join(b"X%d: y\r\n" % i for i in range(5000)) + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9 + b"\r\n\r\n",
    ],
)  # fmt: skip
def test_what_two_readers_may_read_in_two_ways_reaches_none(send, request_):
    assert send(request_).startswith(b"HTTP/1.1 4")
    assert Handler.asked == []


@pytest.mark.parametrize("end", [b"Connection: keep-alive\r\n\r\n", b"X: a\n\n", b"Content-Length: 0\r\n\r\n"])
def test_a_second_request_of_a_connection_is_not_passed_on(send, end):
    answer = send(PING + end + HIDDEN)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert Handler.asked == ["GET /_ping HTTP/1.1"]
    assert Handler.bodies == [b""]


@pytest.mark.parametrize("switch", [b"Connection: Upgrade\r\nUpgrade: h2c", b"Connection: Upgrade\r\nUpgrade: tcp"])
def test_only_attaching_may_switch_protocols(send, switch):
    """Bytes after a switch are not looked at, so a switch that nobody needs would be a way around the checks."""
    answer = send(PING + switch + b"\r\n\r\n" + HIDDEN)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert Handler.asked == ["GET /_ping HTTP/1.1"]
    assert "Upgrade" not in Handler.headers_[-1]


ATTACH = b"POST /containers/mine/attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"


def engine_that(tmp_path, answer, work):
    """What ``work`` makes of the proxy in front of an engine that has one task, and answers all else by ``answer``."""
    shown = {
        "Config": {"Labels": {"wsol.task": "x"}},
        "HostConfig": {"NetworkMode": "none", "Mounts": [{"Source": "work"}]},
    }
    described = json.dumps(shown).encode()

    async def engine(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/json " in head:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(described) + described)
        else:
            await answer(reader, writer)
        writer.close()

    async def served(path):
        async with await asyncio.start_unix_server(engine, str(tmp_path / "e.sock")):
            return await work(path)

    return running(tmp_path, served, ENGINE=str(tmp_path / "e.sock"))


def test_an_attached_stream_is_passed_on_byte_by_byte_and_what_the_client_says_is_lost(tmp_path):
    heard = []

    async def answer(reader, writer):
        writer.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n\1\0\0\0\0\0\0\2hi")
        await writer.drain()
        with suppress(TimeoutError):
            heard.append(await asyncio.wait_for(reader.read(100), 0.2))
        writer.write(b"\0\xff")

    said = engine_that(tmp_path, answer, lambda path: exchange(path, ATTACH + b"rm -rf /\n"))
    head, _, stream = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert stream == b"\1\0\0\0\0\0\0\2hi\0\xff"
    assert heard == []


@pytest.mark.parametrize(
    "said",
    [
        b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 200\0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * (1 << 17) + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n" + HIDDEN,
    ],
)  # fmt: skip
def test_an_answer_of_the_engine_that_is_none_does_not_pass(tmp_path, said):
    async def answer(_, writer):
        writer.write(said)

    got = engine_that(
        tmp_path, answer, lambda path: exchange(path, b"POST /containers/mine/stop HTTP/1.1\r\nHost: x\r\n\r\n")
    )
    assert not got or got.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 503 "))


def test_a_client_that_does_not_take_its_answer_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(proxy, "PATIENCE", 0.3)
    ended = []

    async def answer(_, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(ConnectionError):
            for _ in range(10_000):
                writer.write(b"x" * (1 << 16))
                await writer.drain()
        ended.append(True)

    async def work(path):
        _reader, writer = await asyncio.open_unix_connection(path, limit=1)
        writer.write(ATTACH.replace(b"Connection: Upgrade\r\nUpgrade: tcp\r\n", b""))
        while not ended:
            await asyncio.sleep(0.05)
        writer.close()

    engine_that(tmp_path, answer, work)
    assert ended


def test_an_engine_that_does_nothing_is_not_waited_for_forever(tmp_path, monkeypatch):
    monkeypatch.setattr(proxy, "ENGINE_PATIENCE", 0.2)

    async def answer(*_):
        await asyncio.sleep(15)

    got = engine_that(
        tmp_path, answer, lambda path: exchange(path, b"POST /containers/mine/start HTTP/1.1\r\nHost: x\r\n\r\n")
    )
    assert got.startswith(b"HTTP/1.1 503 ")
