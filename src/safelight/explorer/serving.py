"""Serving a page to this machine's browser, and to nobody else unless asked to; keeping its labels."""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, final

from safelight.errors import ConfigError, SafelightError
from safelight.explorer.labelling import LabelFile

__all__ = ["LABELS", "PageServer", "Served", "serve"]

LABELS = "/labels"
TOKEN = "X-Safelight-Token"
MOST_BYTES = 1 << 25  # of a change

LOOPBACK = "127.0.0.1"
HTTP_PORT = 80  # which a URL leaves out
NAMES = ("localhost", LOOPBACK)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Served(NamedTuple):
    """A file to serve.

    Attributes:
        kind: its media type.
        content: its bytes.
    """

    kind: str
    content: bytes


@final
class PageServer(ThreadingHTTPServer):
    """A fixed list of files, read by nobody who came by another machine's name.

    A page elsewhere whose name is made to point here (DNS rebinding) sends that name as its Host: refused.

    Args:
        files: by their paths, such as "/".
        host: the address to listen on.
        port: 0 for one that is free.
        labels: a file that the page at "/" may change, which sends a token to show that it is ours.
        token: what it sends.
    """

    daemon_threads = True

    def __init__(
        self,
        files: Mapping[str, Served],
        host: str = LOOPBACK,
        port: int = 0,
        labels: LabelFile | None = None,
        token: str = "",
    ) -> None:
        self.files = files
        self.labels = labels
        self.token = token
        self.host = host
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """Where the first page is."""
        return f"http://{self.host}:{self.server_port}/"  # a browser leaves the port 80 out

    def knows(self, host: str) -> bool:
        """Whether a request's Host is one that we are called by."""
        if not ipaddress.ip_address(self.host).is_loopback:
            return True
        names = {*NAMES, self.host}
        return host in {f"{name}:{self.server_port}" for name in names} or (
            self.server_port == HTTP_PORT and host in names
        )


@final
class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    timeout = 60  # seconds without a byte

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def do_POST(self) -> None:
        labels = self._labels()
        if labels is None:
            return
        if self.headers.get("Origin") != f"http://{self.headers.get('Host')}":
            self.send_error(403, "unknown Origin")
            return
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and int(length) <= MOST_BYTES):
            self.send_error(413, "expected a change of labels")
            return
        try:
            given = json.loads(self.rfile.read(int(length)))
            labels.change(given["changes"], given["undo"] is True)
        except SafelightError as error:
            self._send(500, Served("text/plain; charset=utf-8", str(error).encode()))
        except (ValueError, KeyError, TypeError, RecursionError):
            self.send_error(400, "expected a change of labels")
        else:
            self._send(200, Served("application/json", b"{}"))

    def _labels(self) -> LabelFile | None:
        """The file of labels, for whoever has the token; others are answered."""
        if not self.server.knows(self.headers.get("Host", "")):
            self.send_error(403, "unknown Host")
        elif self.server.labels is None or self.path != LABELS:
            self.send_error(404)
        elif not hmac.compare_digest(self.headers.get(TOKEN, "").encode(), self.server.token.encode()):
            self.send_error(403, "unknown token")
        else:
            return self.server.labels
        return None

    def _answer(self, with_content: bool) -> None:
        if not self.server.knows(self.headers.get("Host", "")):
            self.send_error(403, "unknown Host")
            return
        if self.path == LABELS and self.server.labels is not None:
            self._answer_labels()
            return
        found = self.server.files.get(self.path)
        if found is None:
            self.send_error(404)
            return
        self._send(200, found, with_content)

    def _answer_labels(self) -> None:
        labels = self._labels()
        if labels is None:
            return
        try:
            known = {"labels": list(labels.read().items()), "changes": labels.latest()}
        except SafelightError as error:
            self._send(500, Served("text/plain; charset=utf-8", str(error).encode()))
        else:
            self._send(200, Served("application/json", json.dumps(known).encode()))

    def _send(self, status: int, answer: Served, with_content: bool = True) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        if with_content:
            self.wfile.write(answer.content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is the user's."""


def serve(
    files: Mapping[str, Served],
    host: str = LOOPBACK,
    port: int = 0,
    labels: LabelFile | None = None,
    token: str = "",
) -> PageServer:
    """A server that listens; its `serve_forever` answers until it is interrupted.

    Args:
        files: by their paths.
        host: an IPv4 address of this machine; by others than 127.0.0.1 other machines can read the files.
        port: 0 for one that is free.
        labels: a file that whoever sends the token may change.
        token: a secret that the page holds.

    Raises:
        ConfigError: the address is none of this machine's, or the port is in use.

    Example:
        >>> with serve({"/": Served("text/html", b"hello")}) as server:
        ...     server.url.startswith("http://127.0.0.1:")
        True
    """
    try:
        ipaddress.IPv4Address(host)
        return PageServer(files, host, port, labels, token)
    except ipaddress.AddressValueError:
        raise ConfigError(f"host: expected an IPv4 address such as {LOOPBACK}, got {host}") from None
    except OverflowError:
        raise ConfigError(f"port: expected 0 to 65535, got {port}") from None
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {error.strerror}; choose another --port"
        ) from None
