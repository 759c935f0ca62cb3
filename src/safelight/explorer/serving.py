"""Serving a page to this machine's browser, and to nobody else unless asked to."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, final

from safelight.errors import ConfigError

__all__ = ["PageServer", "Served", "serve"]

LOOPBACK = "127.0.0.1"
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
    """

    daemon_threads = True

    def __init__(self, files: Mapping[str, Served], host: str = LOOPBACK, port: int = 0) -> None:
        self.files = files
        self.host = host
        super().__init__((host, port), _Handler)

    @property
    def url(self) -> str:
        """Where the first page is."""
        return f"http://{self.host}:{self.server_port}/"

    def knows(self, host: str) -> bool:
        """Whether a request's Host is one that we are called by."""
        if not ipaddress.ip_address(self.host).is_loopback:
            return True
        return host in {f"{name}:{self.server_port}" for name in NAMES}


@final
class _Handler(BaseHTTPRequestHandler):
    server: PageServer

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def _answer(self, with_content: bool) -> None:
        if not self.server.knows(self.headers.get("Host", "")):
            self.send_error(403, "unknown Host")
            return
        found = self.server.files.get(self.path)
        if found is None:
            self.send_error(404)
            return
        self.send_response(200)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", found.kind)
        self.send_header("Content-Length", str(len(found.content)))
        self.end_headers()
        if with_content:
            self.wfile.write(found.content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal is the user's."""


def serve(files: Mapping[str, Served], host: str = LOOPBACK, port: int = 0) -> PageServer:
    """A server that listens; its `serve_forever` answers until it is interrupted.

    Args:
        files: by their paths.
        host: an IPv4 address of this machine; by others than 127.0.0.1 other machines can read the files.
        port: 0 for one that is free.

    Raises:
        ConfigError: the address is none of this machine's, or the port is in use.

    Example:
        >>> with serve({"/": Served("text/html", b"hello")}) as server:
        ...     server.url.startswith("http://127.0.0.1:")
        True
    """
    try:
        ipaddress.IPv4Address(host)
        return PageServer(files, host, port)
    except ipaddress.AddressValueError:
        raise ConfigError(f"host: expected an IPv4 address such as {LOOPBACK}, got {host}") from None
    except OverflowError:
        raise ConfigError(f"port: expected 0 to 65535, got {port}") from None
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {error.strerror}; choose another --port"
        ) from None
