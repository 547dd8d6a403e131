"""Servers on this machine: free ports, and JSON over HTTP."""

import json
import socket
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def request(method: str, address: str, body: Any = None, authorization: str = "") -> Any:
    """A JSON answer."""
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    headers |= {"Authorization": authorization} if authorization else {}
    data = None if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(address, method=method, data=data, headers=headers)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return json.load(answer)


@contextmanager
def webhook_server() -> Iterator[SimpleNamespace]:
    """A server with its ``url`` and all it ``received``: /hook takes it, /moved redirects there, others fail."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._keep(json.loads(body))

        def do_GET(self) -> None:
            self._keep(None)

        def _keep(self, body: Any) -> None:
            received.append((self.path, self.headers.get("Authorization"), body))
            self.send_response({"/hook": 200, "/moved": 302}.get(self.path, 500))
            self.send_header("Location", "/hook")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield SimpleNamespace(url=f"http://127.0.0.1:{server.server_port}", received=received)
    finally:
        server.shutdown()
        server.server_close()


class AirflowApi:
    """Airflow's REST API, signed in as the user of the page."""

    def __init__(self, port: int, state: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        user = {"username": "admin", "password": json.loads((state / "airflow/passwords.json").read_text())["admin"]}
        self.token = request("POST", f"{self.url}/auth/token", user)["access_token"]

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        """A JSON answer."""
        return request(method, self.url + path, body, f"Bearer {self.token}")
