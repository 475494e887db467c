"""Serves a world over HTTP on loopback."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Mapping
from types import MappingProxyType, TracebackType

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from swapsync.sandbox.app import create_app
from swapsync.sandbox.world import API_KEY, CLIENT_ID, CLIENT_SECRET, SITE_ID, STORE_ID, World

__all__ = ["API_KEY", "CLIENT_ID", "CLIENT_SECRET", "SITE_ID", "STORE_ID", "Sandbox", "serve"]

HOST = "127.0.0.1"
START_SECONDS = 10.0


class _Protocol(H11Protocol):
    """Lets the application reach the connection, so that it can close it without an answer."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}


def _listen(port: int) -> socket.socket:
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it, a small answer takes 40 ms
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError:
        listener.close()
        raise
    return listener


class Sandbox:
    """A running sandbox: `with Sandbox(World()) as sandbox:`.

    Port 0 takes a free one. `world` may be replaced while it runs, which is much quicker than another server. Opening
    raises OSError when the port is taken. `merchants` have worlds of their own, by name, under `/merchants/<name>`.
    """

    def __init__(self, world: World, port: int = 0, merchants: Mapping[str, World] = MappingProxyType({})) -> None:
        self.world = world
        self._listener = _listen(port)
        self.url = f"http://{HOST}:{self._listener.getsockname()[1]}"
        self.swap_url = f"{self.url}/swap"
        self.sparklayer_url = f"{self.url}/sparklayer"
        config = uvicorn.Config(
            create_app(lambda: self.world, merchants),
            loop="asyncio",
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="sandbox", daemon=True)

    def __enter__(self) -> Sandbox:
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the sandbox did not start; its log says why")
            time.sleep(0.002)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        self._server.run(sockets=[self._listener])

    def serve_until_signal(self) -> None:
        """Serves in the calling (main) thread until SIGINT or SIGTERM."""
        self._run()

    def environment(self) -> dict[str, str]:
        """The settings that point a worker at this sandbox."""
        return {
            "SWAPSYNC_SWAP_BASE_URL": self.swap_url,
            "SWAPSYNC_SWAP_API_KEY": API_KEY,
            "SWAPSYNC_SWAP_STORE_ID": STORE_ID,
            "SWAPSYNC_SPARKLAYER_BASE_URL": self.sparklayer_url,
            "SWAPSYNC_SPARKLAYER_SITE_ID": SITE_ID,
            "SWAPSYNC_SPARKLAYER_CLIENT_ID": CLIENT_ID,
            "SWAPSYNC_SPARKLAYER_CLIENT_SECRET": CLIENT_SECRET,
            "SWAPSYNC_SWAP_REQUESTS_PER_MINUTE": "0",
            "SWAPSYNC_SPARKLAYER_REQUESTS_PER_MINUTE": "0",
        }


def serve(world: World, port: int) -> None:
    """Serves the world on this port of loopback until SIGINT or SIGTERM. OSError when the port is taken."""
    Sandbox(world, port).serve_until_signal()
