"""The HTTP core: what is retried, what the caller gets to hear, and what never leaves."""

import ssl
import threading
import time
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
import responses
import urllib3.exceptions
from hypothesis import given
from hypothesis import strategies as st

from swapsync.connectors import http
from swapsync.connectors.answers import retry_after
from swapsync.connectors.errors import (
    BadAnswer,
    Busy,
    CredentialsRejected,
    InDoubt,
    LookAgain,
    NotFound,
    Refused,
    RemoteError,
    TryLater,
    Unreachable,
)
from swapsync.connectors.rate import RateBudget
from tests.connectors.conftest import URL, Connect, RawServer, RecordingClock

JSON_HEADERS = "Content-Type: application/json\r\n"


@pytest.fixture
def remote() -> Any:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def answers(remote: Any, *statuses: int, method: str = "GET", **options: Any) -> None:
    """One answer after the other; the last one stays."""
    for status in statuses:
        remote.add(method, f"{URL}/things", status=status, **options)


# -- what comes back


def test_fractions_arrive_as_decimals_and_whole_numbers_as_integers(remote: Any, connect: Connect) -> None:
    remote.get(f"{URL}/things", body='{"total": 54.10, "count": 2}')
    answer = connect().request("GET", "/things", repeatable=True)
    assert answer == {"total": Decimal("54.10"), "count": 2}
    assert isinstance(answer["total"], Decimal)


def test_an_empty_body_is_none(remote: Any, connect: Connect) -> None:
    answers(remote, 204, method="PUT")
    assert connect().request("PUT", "/things", json={"a": 1}, repeatable=True) is None


def test_a_byte_order_mark_is_no_trouble(remote: Any, connect: Connect) -> None:
    remote.get(f"{URL}/things", body=b"\xef\xbb\xbf[1]")
    assert connect().request("GET", "/things", repeatable=True) == [1]


@pytest.mark.parametrize(
    "body", ["<html>busy</html>", '{"rows": [1, 2', '{"total": NaN}', "[" * 100_000, b"\xff\xfe\xff"]
)
def test_an_answer_that_is_not_json_is_asked_for_again_and_then_reported(
    body: str, remote: Any, connect: Connect
) -> None:
    remote.get(f"{URL}/things", body=body)
    with pytest.raises(BadAnswer, match="not JSON"):
        connect().request("GET", "/things", repeatable=True)
    assert len(remote.calls) == 3


def test_an_answer_beyond_the_size_limit_is_not_read_to_its_end(
    remote: Any, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_MAX_BODY_BYTES", 1000)
    remote.get(f"{URL}/things", body="[" + "1," * 1000 + "1]")
    with pytest.raises(BadAnswer, match="longer than 1000 bytes"):
        connect().request("GET", "/things", repeatable=True)


# -- the table of outcomes


@pytest.mark.parametrize(
    ("status", "repeatable", "error", "attempts"),
    [
        (500, True, TryLater, 3),
        (502, False, InDoubt, 1),
        (503, True, TryLater, 3),
        (503, False, InDoubt, 1),
        (429, True, Busy, 3),
        (429, False, Busy, 1),
        (409, True, LookAgain, 3),
        (409, False, LookAgain, 1),
        (404, True, NotFound, 1),
        (401, True, CredentialsRejected, 1),
        (400, True, Refused, 1),
        (403, False, Refused, 1),
        (422, True, Refused, 1),
    ],
)
def test_each_status_has_one_outcome(
    status: int, repeatable: bool, error: type[RemoteError], attempts: int, remote: Any, connect: Connect
) -> None:
    answers(remote, status, method="POST")
    with pytest.raises(RemoteError) as raised:
        connect().request("POST", "/things", json={}, repeatable=repeatable)
    assert type(raised.value) is error
    assert len(remote.calls) == attempts


@pytest.mark.parametrize("status", [500, 429, 409])
def test_trouble_that_passes_is_not_noticed_by_the_caller(status: int, remote: Any, connect: Connect) -> None:
    answers(remote, status, status)
    answers(remote, 200, body="[]")
    assert connect().request("GET", "/things", repeatable=True) == []


def test_a_refusal_carries_its_status_and_detail(remote: Any, connect: Connect) -> None:
    answers(remote, 400, json={"title": "Bad Request", "detail": "No such location."})
    with pytest.raises(Refused) as raised:
        connect().request("GET", "/things", repeatable=True)
    assert (raised.value.status, raised.value.detail) == (400, "No such location.")
    assert str(raised.value) == "Remote: GET /things: answered 400: No such location."


@pytest.mark.parametrize(
    ("before", "had_no_effect"), [([], True), ([429], True), ([409], True), ([500], False), ([502, 429], False)]
)
def test_a_refusal_says_whether_an_earlier_try_may_have_had_an_effect(
    before: list[int], had_no_effect: bool, remote: Any, connect: Connect
) -> None:
    answers(remote, *before, 422, method="PUT")
    with pytest.raises(Refused) as raised:
        connect().request("PUT", "/things", json={}, repeatable=True)
    assert raised.value.had_no_effect is had_no_effect


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ('{"detail": "No.", "errors": [{"property": "[3].sku", "message": "Unknown."}]}', "No.; [3].sku Unknown."),
        ('{"statusCode": 400, "message": ["page is text", "too far"], "error": "Bad"}', "page is text; too far"),
        ('{"error": "Bad Request"}', "Bad Request"),
        ('{"title": "Conflict", "errors": "many"}', "Conflict"),
        ("<html>no</html>", ""),
        ("[1]", ""),
        ("", ""),
    ],
)
def test_the_detail_is_found_in_every_known_error_shape(body: str, detail: str, remote: Any, connect: Connect) -> None:
    answers(remote, 400, body=body)
    with pytest.raises(Refused) as raised:
        connect().request("GET", "/things", repeatable=True)
    assert raised.value.detail == detail


def test_a_redirect_is_refused_and_not_followed(remote: Any, connect: Connect) -> None:
    answers(remote, 302, headers={"Location": "http://elsewhere.test/"})
    with pytest.raises(Refused, match="redirects are not followed"):
        connect().request("GET", "/things", repeatable=True)
    assert len(remote.calls) == 1


# -- connections that break


@pytest.mark.parametrize(("repeatable", "waits"), [(True, 2), (False, 0)])
def test_a_refused_connection_is_tried_again_unless_what_is_sent_may_be_out_of_date_by_then(
    repeatable: bool, waits: int, closed_port: str, connect: Connect, clock: RecordingClock
) -> None:
    with pytest.raises(Unreachable, match="Connection refused"):
        connect(closed_port).request("POST", "/things", json={}, repeatable=repeatable)
    assert len(clock.waits) == waits


def test_a_call_that_must_not_be_repeated_waits_for_nothing_once_all_is_ready(
    remote: Any, connect: Connect, clock: RecordingClock
) -> None:
    answers(remote, 200, 200, 200, method="POST")
    answers(remote, 200, body="[]")
    connection = connect(budget=RateBudget(2, clock), bearer=Tokens("one"))
    connection.get_ready()
    connection.request("GET", "/things", repeatable=True)
    assert clock.waits == []
    connection.request("POST", "/things", json={}, repeatable=False)
    assert clock.waits == [], "its turn was taken before"
    connection.request("POST", "/things", json={}, repeatable=False)
    assert sum(clock.waits) >= 60, "one that nobody got ready waits for its turn"


def test_a_turn_that_was_taken_and_not_used_is_for_the_next_call_that_needs_one(
    remote: Any, connect: Connect, clock: RecordingClock
) -> None:
    connection = connect(budget=RateBudget(1, clock))
    connection.get_ready()
    connection.get_ready()
    assert clock.waits == []


def test_what_waited_for_its_turn_is_not_sent_when_the_worker_was_stopped_meanwhile(
    remote: Any, connect: Connect, clock: RecordingClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(remote, 200, body="[]")
    connection = connect(budget=RateBudget(1, clock))
    connection.request("GET", "/things", repeatable=True)

    def stop_meanwhile(seconds: float) -> None:
        RecordingClock.sleep(clock, seconds)
        connection.stop("as this worker is stopping")

    monkeypatch.setattr(clock, "sleep", stop_meanwhile)
    with pytest.raises(Unreachable, match="as this worker is stopping"):
        connection.request("GET", "/things", repeatable=True)
    assert len(remote.calls) == 1


def test_a_wrong_certificate_is_unreachable_and_never_in_doubt(remote: Any, connect: Connect) -> None:
    verification = ssl.SSLCertVerificationError("certificate verify failed")
    reason = urllib3.exceptions.SSLError(verification)
    pool = urllib3.HTTPSConnectionPool("remote.test")
    remote.post(
        f"{URL}/things",
        body=requests.exceptions.SSLError(urllib3.exceptions.MaxRetryError(pool, "/things?q=1", reason)),
    )
    with pytest.raises(Unreachable, match="certificate verify failed"):
        connect().request("POST", "/things", json={}, repeatable=False)


def test_a_connection_closed_without_an_answer_is_repeated_when_that_is_harmless(
    raw_server: RawServer, connect: Connect
) -> None:
    raw_server.answers = [b"", f"HTTP/1.1 200 OK\r\n{JSON_HEADERS}Content-Length: 2\r\n\r\n[]".encode()]
    assert connect(raw_server.url).request("GET", "/things", repeatable=True) == []


def test_a_connection_closed_without_an_answer_leaves_doubt_otherwise(raw_server: RawServer, connect: Connect) -> None:
    raw_server.answers = [b""]
    with pytest.raises(InDoubt, match="whether it took effect is not known"):
        connect(raw_server.url).request("POST", "/things", json={}, repeatable=False)
    assert len(raw_server.requests) == 1


def test_no_answer_in_time_leaves_doubt(raw_server: RawServer, connect: Connect) -> None:
    with pytest.raises(InDoubt, match="timed out"):
        connect(raw_server.url, timeout=0.05).request("POST", "/things", json={}, repeatable=False)


def test_no_answer_in_time_is_unreachable_when_a_repeat_is_harmless(raw_server: RawServer, connect: Connect) -> None:
    with pytest.raises(Unreachable, match="timed out"):
        connect(raw_server.url, timeout=0.05).request("GET", "/things", repeatable=True)
    assert len(raw_server.requests) == 3


CUT_OFF = f"HTTP/1.1 200 OK\r\n{JSON_HEADERS}Content-Length: 200\r\n\r\n[1, 2".encode()


def test_an_answer_cut_off_in_its_body_is_asked_for_again(raw_server: RawServer, connect: Connect) -> None:
    raw_server.answers = [CUT_OFF, f"HTTP/1.1 200 OK\r\n{JSON_HEADERS}Content-Length: 3\r\n\r\n[1]".encode()]
    assert connect(raw_server.url).request("GET", "/things", repeatable=True) == [1]


def test_a_success_whose_body_is_cut_off_is_still_a_success(raw_server: RawServer, connect: Connect) -> None:
    raw_server.answers = [CUT_OFF]
    assert connect(raw_server.url).request("POST", "/things", json={}, repeatable=False) is None


LONG = f"[{' ' * 198}]"
TRICKLING = {
    "counted": f"HTTP/1.1 200 OK\r\n{JSON_HEADERS}Content-Length: 200\r\n\r\n{LONG}".encode(),
    "chunked": f"HTTP/1.1 200 OK\r\n{JSON_HEADERS}Transfer-Encoding: chunked\r\n\r\nc8\r\n{LONG}\r\n0\r\n\r\n".encode(),
    "neither": f"HTTP/1.1 200 OK\r\n{JSON_HEADERS}\r\n{LONG}".encode(),
}


@pytest.mark.parametrize("answer", TRICKLING.values(), ids=TRICKLING)
def test_an_answer_that_trickles_in_is_given_up_after_twice_the_time_limit(
    answer: bytes, raw_server: RawServer, connect: Connect
) -> None:
    raw_server.answers, raw_server.trickles = [answer], 0.1
    began = time.monotonic()
    with pytest.raises(BadAnswer, match="the answer broke off: it came so slowly that it timed out"):
        connect(raw_server.url, timeout=0.5, max_attempts=1).request("GET", "/things", repeatable=True)
    assert 1 <= time.monotonic() - began < 10, "it would have taken 20 s"


def test_a_write_whose_answer_trickles_in_is_as_its_status_says(raw_server: RawServer, connect: Connect) -> None:
    done, failed = TRICKLING["counted"], TRICKLING["counted"].replace(b"200 OK", b"502 Bad Gateway")
    raw_server.answers, raw_server.trickles = [done, failed], 0.1
    connection = connect(raw_server.url, timeout=0.3)
    assert connection.request("POST", "/things", json={}, repeatable=False) is None
    with pytest.raises(InDoubt, match="whether it took effect is not known"):
        connection.request("POST", "/things", json={}, repeatable=False)


def test_an_answer_that_trickles_in_within_the_time_limit_is_taken(raw_server: RawServer, connect: Connect) -> None:
    raw_server.answers = [f"HTTP/1.1 200 OK\r\n{JSON_HEADERS}Content-Length: 6\r\n\r\n[1, 2]".encode()]
    raw_server.trickles = 0.01
    assert connect(raw_server.url).request("GET", "/things", repeatable=True) == [1, 2]


def test_a_success_whose_body_is_not_json_is_still_a_success(remote: Any, connect: Connect) -> None:
    answers(remote, 201, method="POST", body="stored", content_type="text/plain")
    assert connect().request("POST", "/things", json={}, repeatable=False) is None


def test_a_proxys_page_under_status_200_proves_nothing(remote: Any, connect: Connect) -> None:
    answers(remote, 200, method="POST", body="<html></html>", content_type="text/html; charset=utf-8")
    with pytest.raises(InDoubt, match="HTML page"):
        connect().request("POST", "/things", json={}, repeatable=False)


# -- waiting


def test_waits_double_with_jitter_and_never_exceed_a_minute(
    remote: Any, connect: Connect, clock: RecordingClock
) -> None:
    answers(remote, 500)
    with pytest.raises(TryLater):
        connect(max_attempts=9).request("GET", "/things", repeatable=True)
    for number, wait in enumerate(clock.waits):
        assert min(2**number, 60) <= wait <= min(2**number + 1, 60)
    assert len(clock.waits) == 8


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("header", ["7", "Tue, 10 Mar 2026 12:00:07 GMT"])
def test_retry_after_is_honoured_in_both_forms(
    status: int, header: str, remote: Any, connect: Connect, clock: RecordingClock
) -> None:
    answers(remote, status, headers={"Retry-After": header})
    answers(remote, 200, body="[]")
    connect().request("GET", "/things", repeatable=True)
    assert clock.waits == [7]


@pytest.mark.parametrize("header", ["0", "-5", "soon", "", "Tue, 10 Mar 2020 12:00:00 GMT", "9" * 5000])
def test_a_retry_after_that_asks_for_nothing_means_the_ordinary_wait(
    header: str, remote: Any, connect: Connect, clock: RecordingClock
) -> None:
    answers(remote, 429, headers={"Retry-After": header})
    answers(remote, 200, body="[]")
    connect().request("GET", "/things", repeatable=True)
    assert [1 <= wait <= 2 for wait in clock.waits] == [True]


def test_a_retry_after_beyond_a_minute_is_handed_to_the_caller(
    remote: Any, connect: Connect, clock: RecordingClock
) -> None:
    answers(remote, 429, headers={"Retry-After": "61"})
    with pytest.raises(TryLater) as raised:
        connect().request("GET", "/things", repeatable=True)
    assert clock.waits == []
    assert raised.value.retry_at is not None
    assert (raised.value.retry_at - clock.now()).total_seconds() == 61


@given(st.text())
def test_no_retry_after_header_can_break_the_reader(header: str) -> None:
    wait = retry_after(header, RecordingClock().now())
    assert wait is None or 0 < wait.total_seconds() <= 86_400


# -- the rate budget


def test_the_request_beyond_the_budget_waits_for_its_minute(
    remote: Any, connect: Connect, clock: RecordingClock
) -> None:
    answers(remote, 200, body="[]")
    connection = connect(budget=RateBudget(2, clock))
    for _ in range(3):
        connection.request("GET", "/things", repeatable=True)
    assert len(clock.waits) == 1
    assert 60 <= clock.waits[0] < 61


def test_threads_share_one_budget(clock: RecordingClock) -> None:
    budget = RateBudget(5, clock)
    sent: list[float] = []
    lock = threading.Lock()

    def send() -> None:
        for _ in range(10):
            budget.wait_for_turn()
            with lock:
                sent.append(clock.now().timestamp())

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # 40 requests at 5 a minute: the last one can't leave before seven minutes are over
    assert len(sent) == 40
    assert max(sent) - min(sent) >= 7 * 60


def test_a_clock_that_is_set_back_stops_nobody(clock: RecordingClock) -> None:
    budget = RateBudget(1, clock)
    budget.wait_for_turn()
    clock.forward(hours=-5)
    budget.wait_for_turn()
    assert clock.waits == []


# -- credentials


class Tokens:
    def __init__(self, *tokens: str) -> None:
        self.left = list(tokens)
        self.rejected: list[str] = []

    def token(self) -> str:
        return self.left[0]

    def reject(self, token: str) -> None:
        self.rejected.append(self.left.pop(0))
        assert self.rejected[-1] == token


def authorizations(remote: Any) -> list[str]:
    return [call.request.headers["Authorization"] for call in remote.calls]


def test_a_401_is_answered_with_one_new_token(remote: Any, connect: Connect) -> None:
    answers(remote, 401)
    answers(remote, 200, body="[]")
    assert connect(bearer=Tokens("one", "two")).request("GET", "/things", repeatable=True) == []
    assert authorizations(remote) == ["Bearer one", "Bearer two"]


def test_a_call_that_must_not_be_repeated_is_not_sent_again_with_a_new_token_but_the_next_one_has_it(
    remote: Any, connect: Connect
) -> None:
    answers(remote, 401, 200, method="POST")
    connection = connect(bearer=Tokens("one", "two"))
    with pytest.raises(LookAgain):
        connection.request("POST", "/things", json={}, repeatable=False)
    connection.request("POST", "/things", json={}, repeatable=False)
    assert authorizations(remote) == ["Bearer one", "Bearer two"]


def test_a_second_401_rejects_the_credentials_and_names_the_setting(remote: Any, connect: Connect) -> None:
    answers(remote, 401)
    tokens = Tokens("one", "two", "three")
    with pytest.raises(CredentialsRejected, match="check SECRET_SETTING"):
        connect(bearer=tokens).request("GET", "/things", repeatable=True)
    assert tokens.rejected == ["one"]
    assert len(remote.calls) == 2


def test_a_token_that_expires_during_a_wait_is_renewed_once(
    remote: Any, connect: Connect, clock: RecordingClock
) -> None:
    answers(remote, 429, headers={"Retry-After": "30"})
    answers(remote, 401)
    answers(remote, 200, body="[]")
    assert connect(bearer=Tokens("one", "two")).request("GET", "/things", repeatable=True) == []
    assert authorizations(remote) == ["Bearer one", "Bearer one", "Bearer two"]
    assert clock.waits == [30]


def test_a_password_in_netrc_never_replaces_our_token(
    remote: Any, connect: Connect, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine remote.test login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    answers(remote, 200, body="[]")
    connect(bearer=Tokens("one")).request("GET", "/things", repeatable=True)
    assert authorizations(remote) == ["Bearer one"]


def test_a_proxy_of_the_environment_never_stands_before_this_machine(
    raw_server: RawServer, closed_port: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", closed_port)
    raw_server.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"]
    assert connect(raw_server.url).request("GET", "/things", repeatable=True) == []


def test_cookies_are_not_kept(remote: Any, connect: Connect) -> None:
    answers(remote, 200, body="[]", headers={"Set-Cookie": "node=7"})
    connection = connect()
    for _ in range(2):
        connection.request("GET", "/things", repeatable=True)
    assert "Cookie" not in remote.calls[1].request.headers


def test_every_request_says_who_is_calling(remote: Any, connect: Connect) -> None:
    answers(remote, 200, body="[]")
    connect(headers={"Site-Id": "north"}).request("GET", "/things", repeatable=True)
    sent = remote.calls[0].request.headers
    assert sent["User-Agent"].startswith("swapsync/")
    assert sent["Site-Id"] == "north"


# -- what an error may say


def test_no_secret_and_no_token_stands_in_any_text_of_an_error(remote: Any, connect: Connect) -> None:
    answers(remote, 400, json={"detail": "the key s3cr3t-key and the token t0k3n are not known"})
    with pytest.raises(Refused) as raised:
        connect(secrets=("s3cr3t-key",), bearer=Tokens("t0k3n")).request("GET", "/things", repeatable=True)
    error: BaseException | None = raised.value
    while error is not None:
        for text in (str(error), repr(error), str(vars(error))):
            assert "s3cr3t-key" not in text
            assert "t0k3n" not in text
        error = error.__cause__ or error.__context__
    assert raised.value.detail == "the key *** and the token *** are not known"


@pytest.mark.parametrize("before", range(290, 310))
def test_a_secret_at_the_end_of_a_long_text_is_not_cut_open(before: int, remote: Any, connect: Connect) -> None:
    answers(remote, 400, json={"detail": "x" * before + "t0k3n-of-mine"})
    with pytest.raises(Refused) as raised:
        connect(bearer=Tokens("t0k3n-of-mine")).request("GET", "/things", repeatable=True)
    assert "t0" not in str(raised.value) + raised.value.detail


def test_accounts_on_one_host_use_each_others_open_sockets_and_never_each_others_headers(connect: Connect) -> None:
    met: list[tuple[Any, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            met.append((self.client_address, self.headers["X-Account"]))
            self.send_response(204)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for account in ("acme", "beta", "acme"):
            connection = connect(f"http://127.0.0.1:{server.server_port}", headers={"X-Account": account})
            connection.request("GET", "/things", repeatable=True)
        server.shutdown()
    assert len({socket for socket, _ in met}) == 1
    assert [account for _, account in met] == ["acme", "beta", "acme"]


def test_a_missing_certificate_bundle_is_reported_as_trouble_of_the_connection(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(Unreachable, match="CA certificate bundle"):
        connect("https://remote.test").request("GET", "/things", repeatable=True)


def test_a_connection_error_does_not_quote_the_query(closed_port: str, connect: Connect) -> None:
    with pytest.raises(Unreachable) as raised:
        connect(closed_port).request("GET", "/things", params={"customer_email": "buyer@example.test"}, repeatable=True)
    assert "buyer" not in str(raised.value)


def test_an_e_mail_address_in_the_path_is_not_repeated(remote: Any, connect: Connect) -> None:
    remote.get(f"{URL}/customers/email/buyer%40example.test", status=404)
    with pytest.raises(NotFound) as raised:
        connect().request("GET", "/customers/email/buyer%40example.test", repeatable=True)
    assert str(raised.value) == "Remote: GET /customers/email/…: answered 404"


def _deeper(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["property", "message", "detail"]), inner)


json_values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), _deeper)


@given(body=st.dictionaries(st.sampled_from(["detail", "title", "message", "error", "errors"]), json_values))
def test_whatever_an_error_body_holds_the_text_is_one_short_line(body: dict[str, Any]) -> None:
    with responses.RequestsMock() as remote:
        answers(remote, 400, json=body)
        connection = http.Connection(
            "Remote",
            URL,
            clock=RecordingClock(),
            timeout=1,
            max_attempts=1,
            backoff=0,
            budget=None,
            headers={},
            credentials_hint="",
        )
        with pytest.raises(Refused) as raised:
            connection.request("GET", "/things", repeatable=True)
    for text in (str(raised.value), raised.value.detail):
        assert len(text) <= 300
        assert text.isprintable()
