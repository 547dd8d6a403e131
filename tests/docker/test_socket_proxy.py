"""The proxy of the Docker socket, in front of a stand-in for the engine."""

import asyncio
import http.client
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer

import pytest

from tests.docker.stack import wait_for

SCRIPT = Path(__file__).parents[2] / "docker/tools/socket_proxy.py"
spec = importlib.util.spec_from_file_location("socket_proxy", SCRIPT)
proxy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(proxy)

RULES = proxy.Rules("wsol/pipeline:1", frozenset({"work", "raw"}), frozenset({"raw"}), frozenset({"tasks"}))
MOUNT = {"Type": "volume", "Source": "work", "Target": "/srv/wsol"}
HOST = {
    "ReadonlyRootfs": True, "CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"], "NetworkMode": "tasks",
    "Mounts": [MOUNT], "Tmpfs": {"/tmp": ""}, "Privileged": False,
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
    ],
)
def test_what_could_become_root_is_refused(host, message):
    with pytest.raises(proxy.Refused, match=message):
        check(**host)


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


class Handler(BaseHTTPRequestHandler):
    """Answers like an engine with two containers, of which one is a task's."""

    protocol_version = "HTTP/1.1"
    asked: list[str] = []  # noqa: RUF012
    bodies: list[bytes] = []  # noqa: RUF012

    def do_GET(self):
        self.asked.append(self.requestline)
        self.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        found = "/gone" not in self.path
        labels = {} if "postgres" in self.path else {"wsol.task": "x"}
        shown = {"Config": {"Labels": labels}, "HostConfig": {"NetworkMode": "tasks" if "mine" in self.path else "b"}}
        body = json.dumps(shown if found else {"message": "No such container"}).encode()
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


@pytest.fixture
def listen(tmp_path):
    """The proxy's socket, in front of the stand-in."""
    Handler.asked.clear()
    Handler.bodies.clear()
    server = Server(str(tmp_path / "engine.sock"), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    listen = tmp_path / "proxy.sock"
    variables = {"PROXY_ENGINE": str(tmp_path / "engine.sock"), "PROXY_LISTEN": str(listen),
                 "PROXY_IMAGE": RULES.image, "PROXY_VOLUMES": "work,raw:ro", "PROXY_NETWORKS": "tasks"}  # fmt: skip
    process = subprocess.Popen([sys.executable, SCRIPT], env=os.environ | variables, stdout=subprocess.DEVNULL)
    wait_for(lambda: answers(listen), "the proxy", 20)
    yield listen
    process.kill()
    process.wait()
    server.shutdown()
    server.server_close()


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
@pytest.mark.parametrize("container", ["wsol-postgres-1", "task-of-another-stack"])
def test_other_containers_can_be_neither_seen_nor_stopped(ask, method, end, container):
    status, text = ask(method, f"/v1.41/containers/{container}{end}")
    assert status == 403
    assert "is not a container of Airflow's tasks" in text
    assert Handler.asked == [f"GET /v1.41/containers/{container}/json HTTP/1.0"]


def test_a_container_that_is_not_there_is_the_engines_answer(ask):
    assert ask("DELETE", "/v1.41/containers/gone") == (404, '{"message": "No such container"}')


@pytest.mark.parametrize("container", ODD)
@pytest.mark.parametrize(("method", "end"), [("POST", "/start"), ("POST", "/attach"), ("GET", "/json")])
def test_a_container_that_the_engine_does_not_describe_is_not_used(ask, container, method, end):
    status, text = ask(method, f"/v1.41/containers/{container}{end}")
    assert status == 403 and "socket proxy" in text
    assert Handler.asked == [f"GET /v1.41/containers/{container}/json HTTP/1.0"]


def running(tmp_path, work, **patches):
    """What `work` makes of a socket served by the proxy's own code, with other limits."""

    async def served():
        path = str(tmp_path / "limited.sock")
        async with await asyncio.start_unix_server(lambda r, w: proxy.serve(r, w, RULES), path):
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


@pytest.mark.parametrize("said", [b"", b"GET /_ping HTTP/1.1\r\nX: y", b"POST /containers/create HTTP/1.1\r\n"])
def test_a_client_that_does_not_finish_its_request_is_sent_away(tmp_path, said):
    answer = running(tmp_path, lambda path: exchange(path, said), PATIENCE=0.05)
    assert answer.startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("path_", [b"GET /_ping", b"POST /containers/mine/start"])
def test_an_engine_that_is_away_is_said_to_be(tmp_path, path_):
    request_ = path_ + b" HTTP/1.1\r\n\r\n"
    answer = running(tmp_path, lambda path: exchange(path, request_), ENGINE=str(tmp_path / "none.sock"))
    assert answer.startswith(b"HTTP/1.1 503 ")


def test_an_engine_that_does_not_describe_in_time_lets_nothing_through(tmp_path):
    async def work(path):
        async with await asyncio.start_unix_server(lambda *_: asyncio.sleep(10), str(tmp_path / "mute.sock")):
            return await exchange(path, b"POST /containers/mine/start HTTP/1.1\r\n\r\n")

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


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /_ping HTTP/1.1\r\nX: a\n\n" + HIDDEN + b"\r\n\r\n",
        b"GET /_ping HTTP/1.1\r\nX: a\r\r" + HIDDEN + b"\r\n\r\n",
        b"GET /_ping?\n\n HTTP/1.1\r\n\r\n",
        b"GET /_ping HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n",
        b"POST /containers/create HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"POST /containers/create HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /containers/create HTTP/1.1\r\nContent-Length: 1048577\r\n\r\n",
        b"GET /_ping HTTP/1.1\r\nX: " + b"x" * (1 << 17) + b"\r\n\r\n",
        b"GET http://docker/_ping HTTP/1.1\r\n\r\n",
        b"GET /_ping\r\n\r\n",
    ],
)
def test_what_two_readers_may_read_in_two_ways_reaches_none(send, request_):
    assert send(request_).startswith(b"HTTP/1.1 403 ")
    assert Handler.asked == []


def test_a_second_request_of_a_connection_is_not_passed_on(send):
    answer = send(b"GET /_ping HTTP/1.1\r\nConnection: keep-alive\r\n\r\n" + HIDDEN)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert Handler.asked == ["GET /_ping HTTP/1.1"]
