"""Images from the web, with limits on size, time and redirects, and never from private networks unless allowed.

A list of addresses may come from anybody: without these limits it could make this machine read what only it can
reach, or wait for ever. The address that was checked is the one connected to: a name is resolved once.
"""

import http.client
import ipaddress
import socket
import ssl
import time
from urllib.parse import urljoin, urlsplit

from pipeline.errors import DataError

MAX_BYTES = 64 << 20
SECONDS = 20.0
REDIRECTS = 5
_CHUNK = 1 << 16


def fetch(address: str, allow_private: bool = False, seconds: float = SECONDS, max_bytes: int = MAX_BYTES) -> bytes:
    """The content at an http(s) address.

    Raises:
        DataError: it is not there, too large, too slow, redirected too often or not public; without its name.
    """
    deadline = time.monotonic() + seconds
    try:
        for _ in range(REDIRECTS + 1):
            answer = _get(address, allow_private, deadline, max_bytes)
            if isinstance(answer, bytes):
                return answer
            address = urljoin(address, answer)
    except TimeoutError:
        raise DataError(f"no answer within {seconds:g} s") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DataError(f"cannot be fetched: {str(error) or type(error).__name__}") from None
    raise DataError(f"redirected more than {REDIRECTS} times")


def _get(address: str, allow_private: bool, deadline: float, max_bytes: int) -> bytes | str:
    """The content, or where the server says it is."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DataError("redirected to something else than http(s)")
    connection = _connect(parts.scheme, parts.hostname, parts.port, allow_private, deadline)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"User-Agent": "wsol-pipeline", "Accept": "image/*"})
        response = connection.getresponse()
        if response.status in (301, 302, 303, 307, 308) and (place := response.headers.get("Location")):
            return place
        if response.status != 200:
            raise DataError(f"the server answers {response.status} {response.reason}")
        return _body(connection, response, deadline, max_bytes)
    finally:
        connection.close()


def _connect(
    scheme: str, host: str, port: int | None, allow_private: bool, deadline: float
) -> http.client.HTTPConnection:
    port = port or (443 if scheme == "https" else 80)
    ip = _public(host, port, allow_private)
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    connection = kind(host, port, timeout=_left(deadline))
    connection.sock = socket.create_connection((ip, port), _left(deadline))
    if scheme == "https":
        connection.sock = ssl.create_default_context().wrap_socket(connection.sock, server_hostname=host)
    return connection


def _public(host: str, port: int, allow_private: bool) -> str:
    found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if not allow_private and not all(_is_public(ip) for ip in found):
        raise DataError("its host is in a private network; --allow-private fetches from there too")
    return found[0]


def _is_public(text: str) -> bool:
    ip = ipaddress.ip_address(text.split("%")[0])
    inner = getattr(ip, "ipv4_mapped", None) or ip
    return inner.is_global and not inner.is_multicast


def _body(
    connection: http.client.HTTPConnection, response: http.client.HTTPResponse, deadline: float, max_bytes: int
) -> bytes:
    data = bytearray()
    while True:
        if connection.sock is not None:
            connection.sock.settimeout(_left(deadline))
        chunk = response.read1(_CHUNK)
        if not chunk:
            break
        data += chunk
        if len(data) > max_bytes:
            raise DataError(f"more than {max_bytes:,} bytes")
    if response.length:
        raise DataError("the connection ended in the middle")
    return bytes(data)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
