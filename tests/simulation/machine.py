"""The machine that simulated workers run on: time, processes, the wire and the disk, all owned by the simulation.

A worker runs the real jobs, store and connectors. Whatever it does outside of itself goes through a *point* of its
process: a call (before it is sent, and before its answer is read), a transaction (before it begins, and before it
commits). At a point a process can die, hand over to the other worker, or meet a fault. What is between two points
touches nothing that anybody else can see.
"""

import sqlite3
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from heapq import heappop, heappush
from io import BytesIO
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
import urllib3
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, JobExecutionEvent  # type: ignore[import-untyped]
from apscheduler.schedulers.background import BackgroundScheduler  # type: ignore[import-untyped]
from apscheduler.schedulers.base import BaseScheduler  # type: ignore[import-untyped]
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from urllib3.exceptions import NewConnectionError, ProtocolError, ReadTimeoutError

from swapsync import daemon
from swapsync.clock import Clock
from swapsync.jobs import backfill, cycle
from swapsync.jobs.cycle import JOBS, RunRecord, open_workplace
from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.app import HTML, create_app
from swapsync.sandbox.world import World
from swapsync.settings import SiteSettings
from swapsync.store import leases
from swapsync.store.db import Store, _begin_sqlite
from swapsync.store.leases import Lease

TIMEOUT = 30.0

Answer = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""


FAMILIES = {
    "locked": "begin",
    "restarted": "begin",
    "stall": "begin",
    "clock": "begin",
    "unreadable": "reading",
    "full": "commit",
    "unheard": "commit",
    "stall_answer": "answer",
    "lands_late": "write",
    "clash": "write",
}


class Died(BaseException):
    """The process was killed: nothing of it runs any further, no ``except Exception`` and no clean-up."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong: at the n-th of what a process does of its family, and at as many after it.

    Calls. Without effect: ``refused`` (no connection), ``lost_before``, ``html``, ``status`` (``status``,
    ``retry_after``; 400, 404 and 409 only for writes). With effect: ``lost_after``, ``timeout``, ``error_after`` (a 5xx
    although it was done), ``html_after``, ``truncated``, ``cut_off``, ``slow`` (``seconds``). Else:
    ``revoked`` (all tokens), ``repeated`` (a list answers what it answered last time), ``older`` (the list of returns
    is as it was when this machine last walked over it without a fault).
    Writes, which are the calls that change something: ``lands_late`` (takes effect so many ``seconds`` after the caller
    gave up on it), ``clash`` (409, no effect: another write got in between).
    The machine: ``stall`` (at begin) and ``stall_answer`` (before an answer is read): it stands still for minutes, its
    heartbeat too, while the other one goes on. ``clock`` (at begin): its clock jumps, and is so many ``seconds`` ahead
    of the true time from then on, or behind it.
    Reads of the store: ``unreadable``.
    Transactions: ``locked`` and ``restarted`` (at begin), ``full`` (at commit: rolled back), ``unheard`` (at commit:
    committed, but the worker hears of a broken connection).
    """

    at: int
    kind: str
    times: int = 1
    status: int = 503
    retry_after: str = ""
    seconds: float = 0.0

    @property
    def family(self) -> str:
        return FAMILIES.get(self.kind, "call")

    def __str__(self) -> str:
        what = f"{self.kind} {self.status}" if self.kind in ("status", "error_after") else self.kind
        more = [f"Retry-After {self.retry_after}"] if self.retry_after else []
        more += [f"{self.seconds:g} s"] if self.seconds else []
        span = f"{self.at}" if self.times == 1 else f"{self.at}..{self.at + self.times - 1}"
        return " ".join([f"{self.family} {span}: {what}", *more])


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens to one run of a process: its jobs, its faults, the point at which it dies (0: it lives).

    ``daemon_minutes``: for how long it runs all jobs on their schedules; 0: it does its jobs once, as a command.
    ``backfill_days``: how much of the past it reads anew before it delivers; 0: it is no backfill.
    """

    jobs: tuple[str, ...] = tuple(JOBS)
    faults: tuple[Fault, ...] = ()
    dies_at: int = 0
    daemon_minutes: int = 0
    backfill_days: int = 0

    def __str__(self) -> str:
        said = ["all jobs" if self.jobs == tuple(JOBS) else ", ".join(self.jobs)]
        if self.backfill_days:
            said = [f"a backfill of {self.backfill_days} days"]
        said += [f"on schedule for {self.daemon_minutes} min"] if self.daemon_minutes else []
        said += [f"[{fault}]" for fault in self.faults]
        said += [f"killed at point {self.dies_at}"] if self.dies_at else []
        return " ".join(said)


class Time:
    """The time that all machines share; each machine's clock may be wrong by its own offset."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment
        self.passing: list[Callable[[], None]] = []
        self._to_come: list[tuple[datetime, int, Callable[[], object]]] = []
        self._promised = 0

    def later(self, seconds: float, happening: Callable[[], object]) -> None:
        """Has something happen when so much time has passed."""
        self._promised += 1
        heappush(self._to_come, (self.moment + timedelta(seconds=seconds), self._promised, happening))

    @property
    def has_to_come(self) -> bool:
        """Whether something is still under way."""
        return bool(self._to_come)

    def pass_(self, seconds: float) -> None:
        until = self.moment + timedelta(seconds=max(0.0, seconds))
        while self._to_come and self._to_come[0][0] <= until:
            self.moment, _, happening = heappop(self._to_come)
            happening()
        self.moment = until
        for told in tuple(self.passing):
            told()


class MachineClock(Clock):
    """One machine's clock; waiting moves the time instead of taking any."""

    def __init__(self, time: Time, meanwhile: Callable[["MachineClock"], None]) -> None:
        """``meanwhile``: what happens elsewhere while the worker whose clock this is waits."""
        self.time = time
        self._meanwhile = meanwhile
        self.offset = timedelta()
        self.stalled = False
        self.has_looked = False
        """Its worker's last call read stock levels, so that its next one may write them."""

    def now(self) -> datetime:
        return self.time.moment + self.offset

    def sleep(self, seconds: float) -> None:
        self.time.pass_(seconds)
        self._meanwhile(self)


class Heart:
    """Stands in for the thread that keeps a lease alive: it beats as simulated time passes, unless its machine stalls.

    A killed process's heart stops, because the frame around its job is left.
    """

    office: Store

    def __init__(self, target: Callable[..., None], args: tuple[Store, MachineClock, Lease, Any], daemon: bool) -> None:
        _, self._clock, self._lease, _ = args

    def start(self) -> None:
        self._clock.time.passing.append(self._beat)

    def join(self) -> None:
        self._clock.time.passing.remove(self._beat)

    def _beat(self) -> None:
        if not self._clock.stalled:
            leases._extend(self.office, self._clock, self._lease, leases.LEASE)


class Now(datetime):
    """Stands in for the ``datetime`` of APScheduler: the present is what the clock of the running process says."""

    of_thread = threading.local()

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        moment: datetime = cls.of_thread.clock.now()
        return moment


class Scheduler(BackgroundScheduler):  # type: ignore[misc]
    """The daemon's scheduler without its thread: the process itself has it look for what is due."""

    def start(self) -> None:
        BaseScheduler.start(self)

    def wakeup(self) -> None:
        """It is looked after anyhow."""

    def shutdown(self) -> None:
        BaseScheduler.shutdown(self)


class Threads:
    """Stands in for the daemon's threads: the process works off what they are given, one after the other."""

    def __init__(self, *_: object, **__: object) -> None:
        self._given: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()

    def submit(self, work: Callable[..., None], *arguments: object) -> None:
        self._given.append((work, arguments))

    def work_off(self) -> None:
        while self._given:
            work, arguments = self._given.popleft()
            work(*arguments)

    def shutdown(self, *_: object, **__: object) -> None:
        self._given.clear()


class Wire(requests.adapters.HTTPAdapter):
    """Carries requests into the sandbox's own HTTP application, in this process, without sockets."""

    def __init__(self, world: World, process: "Process") -> None:
        super().__init__()
        self._app = create_app(lambda: world)
        self._world, self._process = world, process
        self._last: dict[str, Answer] = {}

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        process, world = self._process, self._world
        fault = process.reach("call") or (None if _reads(request) else process.reach("write"))
        if fault and fault.kind == "status" and fault.status in (400, 404, 409) and _reads(request):
            fault = None  # that would be a lie, not a failure
        kind = fault.kind if fault else ""
        if kind == "refused":
            connection = urllib3.connection.HTTPConnection("sandbox.invalid")
            raise requests.ConnectionError(NewConnectionError(connection, "Connection refused"))
        if kind == "lost_before":
            raise requests.ConnectionError(ProtocolError("Connection aborted.", ConnectionResetError(104, "reset")))
        if fault and kind == "slow":
            process.clock.time.pass_(fault.seconds)
        if kind == "revoked" and "/auth/token" not in request.path_url:
            world.sparklayer.revoke_tokens()
        name = f"{request.method} {urlsplit(request.url).path}"  # type: ignore[type-var]
        if fault and kind == "lands_late":
            process.clock.time.later(TIMEOUT + fault.seconds, lambda: self._ask(request))
            status, headers, body = 0, {}, b""
        elif fault and kind in ("status", "clash"):
            status, headers, body = fault.status, {"content-type": "application/json"}, b'{"detail": "no"}'
            if fault.retry_after:
                headers["Retry-After"] = _retry_after(fault.retry_after, process.clock.time.moment)
        elif kind == "html":
            status, headers, body = 200, {"content-type": "text/html; charset=utf-8"}, HTML
        elif kind == "older" and (page := _page_of_returns(request)) in process.heard:
            status, headers, body = process.heard[page]
        elif kind == "repeated" and request.method == "GET" and name.endswith(("/returns", "/purchases")):
            status, headers, body = self._last.get(name) or self._ask(request)
        else:
            status, headers, body = self._last[name] = self._ask(request)
            if (page := _page_of_returns(request)) and not process.plan.faults and not process.plan.dies_at:
                process.heard[page] = self._last[name]
        process.clock.has_looked = name.endswith("/batch-fetch-stock")
        process.reach("answer")
        if kind == "lost_after":
            raise requests.ConnectionError(ProtocolError("Connection aborted.", ConnectionResetError(104, "reset")))
        if kind in ("timeout", "lands_late"):
            process.clock.time.pass_(TIMEOUT)
            raise requests.ReadTimeout(ReadTimeoutError(None, request.url, "Read timed out."))  # type: ignore[arg-type]
        if fault and kind == "error_after":
            status, body = fault.status, b""
        if kind == "html_after":
            status, headers, body = 200, {"content-type": "text/html"}, HTML
        if kind == "truncated":
            body = body[: len(body) // 2]
        length = str(len(body))
        if kind == "cut_off":
            body = body[: len(body) // 2]
        answer = urllib3.HTTPResponse(
            BytesIO(body),
            {**headers, "content-length": length},
            status,
            preload_content=False,
            enforce_content_length=True,
            request_method=request.method,
        )
        return self.build_response(request, answer)

    def _ask(self, request: requests.PreparedRequest) -> Answer:
        parts = urlsplit(request.url or "")
        body = request.body or b""
        scope = {
            "type": "http",
            "method": request.method,
            "path": parts.path,
            "raw_path": parts.path.encode(),
            "root_path": "",
            "query_string": parts.query.encode(),
            "headers": [(k.lower().encode(), _bytes(v)) for k, v in request.headers.items()],
            "state": {},
        }
        sent: list[Mapping[str, Any]] = []

        async def receive() -> Mapping[str, Any]:
            return {"type": "http.request", "body": _bytes(body)}

        async def send(message: Mapping[str, Any]) -> None:
            sent.append(message)

        _finish(self._app(scope, receive, send))  # type: ignore[arg-type]
        headers = {k.decode(): v.decode() for k, v in sent[0]["headers"] if k != b"content-length"}
        return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])


def _reads(request: requests.PreparedRequest) -> bool:
    return request.method == "GET" or request.path_url.endswith(("/auth/token", "/batch-fetch-stock"))


def _page_of_returns(request: requests.PreparedRequest) -> int:
    """Which page of what changed in Swap is asked for; 0: something else is."""
    url = urlsplit(request.url or "")
    asked = dict(parse_qsl(url.query))
    return int(asked["page"]) if url.path.endswith("/returns") and "last_RMA_updated_date" in asked else 0


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _finish(coroutine: Any) -> None:
    """Runs a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise RuntimeError("the sandbox waited for something")


def _retry_after(said: str, now: datetime) -> str:
    if said.startswith("date+"):
        return format_datetime(now + timedelta(seconds=int(said[5:])), usegmt=True)
    return said


class Disk:
    """The store as one process sees it: the real one, with its points and its faults.

    The engine outlives the simulated processes, because its compiled statements are dear.
    """

    def __init__(self, url: str) -> None:
        self.store = Store(url)
        self.process: Process | None = None
        engine = self.store.engine
        event.listen(engine, "connect", self._connect)
        event.remove(engine, "begin", _begin_sqlite)  # a point comes before the store begins, not after
        event.listen(engine, "begin", self._begin)
        event.listen(engine, "begin", _begin_sqlite)
        event.listen(engine, "commit", self._commit)

    @staticmethod
    def _connect(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA busy_timeout = 100")

    def _begin(self, connection: Any) -> None:
        if self.process is None:
            return
        if connection.get_execution_options().get("swapsync_reading"):
            if self.process.meets("reading"):
                raise _broken("disk I/O error")
            return
        fault = self.process.reach("begin")
        if fault and fault.kind == "locked":
            raise _broken("database is locked")
        if fault and fault.kind == "restarted":
            raise _broken("server closed the connection unexpectedly")

    def _commit(self, connection: Any) -> None:
        if self.process is None:
            return
        fault = self.process.reach("commit")
        if fault and fault.kind == "full":
            raise _broken("database or disk is full")
        if fault and fault.kind == "unheard":
            connection.connection.driver_connection.execute("COMMIT")
            raise _broken("server closed the connection unexpectedly")


def _broken(why: str) -> OperationalError:
    return OperationalError("(simulated)", None, sqlite3.OperationalError(why))


@dataclass
class Process:
    """One run of a worker: from its start to its end or its death."""

    name: str
    clock: MachineClock
    disk: Disk
    plan: Plan
    heard: dict[int, Answer] = field(default_factory=dict)
    baton: "Baton | None" = None
    points: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    dead: bool = False
    records: list[RunRecord] = field(default_factory=list)
    broke: str = ""
    wrong: str = ""

    def reach(self, family: str) -> Fault | None:
        """A point of the process. Returns the fault that waits there. Raises Died."""
        if self.dead:
            raise Died
        self.points += 1
        if self.points == self.plan.dies_at:
            self.dead = True
            raise Died
        if self.baton is not None and family != "commit":
            self.baton.offer(self)
        fault = self.meets(family)
        if fault and fault.kind in ("stall", "stall_answer"):
            self._stall()
        if fault and fault.kind == "clock":
            self.clock.offset = timedelta(seconds=fault.seconds)
        return fault

    def meets(self, family: str) -> Fault | None:
        """Counts what a process does of a family; returns the fault that waits there."""
        count = self.counts[family] = self.counts.get(family, 0) + 1
        waiting = (f for f in self.plan.faults if f.family == family and f.at <= count < f.at + f.times)
        return next(waiting, None)

    def _stall(self) -> None:
        self.clock.stalled = True
        self.clock.time.pass_(2 * leases.LEASE.total_seconds())
        if self.baton is not None:
            self.baton.bench(self)
        self.clock.stalled = False

    def run(self, site: SiteSettings, world: World) -> None:
        """Starts, does its jobs, and leaves; as a killed process it simply stops."""
        self.disk.process = self
        self.clock.has_looked = False
        Now.of_thread.clock = self.clock
        try:
            place = open_workplace(site, self.disk.store, self.clock, Wire(world, self))
            if self.plan.daemon_minutes:
                self._keep_to_schedule(place)
            else:
                for name, job in self._jobs(place).items():
                    self.records.append(cycle.run_job(place, name, job, holder=self.name))
        except Died:
            pass
        except OperationalError as trouble:  # the database is out of order: the command ends with exit code 1
            self.broke = str(trouble.orig)
        finally:
            self.disk.process = None

    def _jobs(self, place: Workplace) -> Mapping[str, cycle.Job]:
        if not self.plan.backfill_days:
            return {name: JOBS[name] for name in self.plan.jobs}
        now = self.clock.now()
        span = backfill.windows(now - timedelta(days=self.plan.backfill_days), now)
        return backfill.Backfill(span, backfill.BackfillReport(place.slug, [])).jobs()

    def _keep_to_schedule(self, place: Workplace) -> None:
        """Runs the daemon's own scheduler until its time is over, which it hears of as if by a signal."""
        time, stopping = self.clock.time, threading.Event()
        over = time.moment + timedelta(minutes=self.plan.daemon_minutes)
        executed: Counter[str] = Counter()

        def watch_the_time() -> None:
            if time.moment >= over:
                stopping.set()

        def note(event: JobExecutionEvent) -> None:
            executed[event.job_id] += 1
            if event.retval:
                self.records.append(event.retval)
            if event.exception and not isinstance(event.exception, Died):
                self.wrong = f"{event.job_id} raised {event.exception!r}"

        scheduler = daemon.schedule([place], stopping, self.clock.now(), self.name)
        scheduler.add_listener(note, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR)
        time.passing.append(watch_the_time)
        try:
            scheduler.start()
            while not stopping.is_set():
                seconds = scheduler._process_jobs()
                wake = time.moment + timedelta(seconds=seconds)
                if seconds > 1:  # the scheduler has submitted all of a cycle before its first job has done a thing
                    executed.clear()
                    scheduler._lookup_executor("sites")._threads.work_off()
                    if self.dead:  # APScheduler notes as a job's error what kills the process
                        raise Died
                    if again := [job for job, times in executed.items() if times > 1]:
                        self.wrong = f"{again} were made up for more than once"
                while time.moment < wake and not stopping.is_set():
                    time.pass_(min(60, (wake - time.moment).total_seconds()))
                    if self.baton is not None:
                        self.baton.offer(self)
            scheduler.shutdown()
        finally:
            time.passing.remove(watch_the_time)


class Baton:
    """Lets two processes run one at a time, and decides by a seed who is next at each point."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        self._turn = self._random.choice((2, 7, 40))
        self._turns: dict[str, threading.Semaphore] = {}
        self._back = threading.Semaphore(0)
        self._ended: set[str] = set()
        self._benched: dict[str, int] = {}
        self._left = 0

    def offer(self, process: Process) -> None:
        """Hands over when the turn is used up, and waits for the next one."""
        self._left -= 1
        if self._left < 0:
            self._back.release()
            self._turns[process.name].acquire()

    def bench(self, process: Process) -> None:
        """Lets the other one go on for a good while."""
        self._benched[process.name] = 40
        self._back.release()
        self._turns[process.name].acquire()

    def run(self, processes: list[Process], site: SiteSettings, world: World) -> None:
        """Runs the processes interleaved, until each has ended."""
        alive: dict[str, threading.Thread] = {}
        for process in processes:
            process.baton = self
            self._turns[process.name] = threading.Semaphore(0)
            thread = threading.Thread(target=self._play, args=(process, site, world), daemon=True)
            alive[process.name] = thread
            thread.start()
        while alive:
            self._benched = {name: turns - 1 for name, turns in self._benched.items() if turns > 1}
            name = self._random.choice(sorted(alive.keys() - self._benched) or sorted(alive))
            self._left = int(self._random.expovariate(1 / self._turn))
            self._turns[name].release()
            self._back.acquire()
            if name in self._ended:
                alive.pop(name).join()

    def _play(self, process: Process, site: SiteSettings, world: World) -> None:
        self._turns[process.name].acquire()
        try:
            process.run(site, world)
        finally:
            self._ended.add(process.name)
            self._back.release()
