"""A connection whose waits are recorded, and a server that misbehaves below HTTP."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from swapsync.connectors.http import Connection
from tests.conftest import FixedClock

URL = "http://remote.test"


class RecordingClock(FixedClock):
    """Waiting takes no time and is remembered."""

    def __init__(self) -> None:
        super().__init__(datetime(2026, 3, 10, 12, 0, tzinfo=UTC))
        self.waits: list[float] = []
        self._lock = threading.Lock()

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.waits.append(seconds)
            super().sleep(seconds)


@pytest.fixture
def clock() -> RecordingClock:
    return RecordingClock()


Connect = Callable[..., Connection]


@pytest.fixture
def connect(clock: RecordingClock) -> Connect:
    def connection(base_url: str = URL, **options: Any) -> Connection:
        defaults: dict[str, Any] = {
            "clock": clock,
            "timeout": 5,
            "max_attempts": 3,
            "backoff": 1,
            "budget": None,
            "headers": {},
            "credentials_hint": "check SECRET_SETTING",
        }
        return Connection("Remote", base_url, **(defaults | options))

    return connection


class RawServer:
    """Answers each connection with the next of the given byte strings and closes it; with none left, says nothing.

    ``trickles``: the body comes byte by byte, one every so many seconds.
    """

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.requests: list[bytes] = []
        self.trickles = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            received = b""
            while b"\r\n\r\n" not in received:
                received += connection.recv(65536)
            self.requests.append(received)
            if not self.answers:
                self._open.append(connection)
                continue
            with contextlib.suppress(ConnectionError):  # the client gave up
                self._answer(connection, self.answers.pop(0))
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _answer(self, connection: socket.socket, answer: bytes) -> None:
        head, end, body = answer.partition(b"\r\n\r\n")
        connection.sendall(head + end)
        for part in [body[i : i + 1] for i in range(len(body))] if self.trickles else [body]:
            connection.sendall(part)
            time.sleep(self.trickles)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._open:
            connection.close()


@pytest.fixture
def raw_server() -> Iterator[RawServer]:
    server = RawServer()
    yield server
    server.close()


@pytest.fixture
def closed_port() -> str:
    """A URL at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"
