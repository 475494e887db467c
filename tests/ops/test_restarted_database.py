"""PostgreSQL restarts in the middle of a cycle: what was being done is done by the next one, once."""

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import OperationalError

from swapsync.jobs.workplace import Workplace
from swapsync.sandbox.world import World
from swapsync.store.db import Store
from tests.conftest import Desk, FixedClock, run
from tests.scenario import approved, credited, sold

only_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def cut_all_connections(store: Store) -> None:
    """What a restart of the server does to everybody who is connected."""
    admin = create_engine(store.engine.url)
    with admin.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    admin.dispose()


def run_and_restart_before_transaction(place: Workplace, number: int) -> bool:
    """Runs a cycle; returns whether the restart was noticed."""
    begun = 0

    def count(_: object) -> None:
        nonlocal begun
        begun += 1
        if begun == number:
            cut_all_connections(place.store)

    event.listen(place.store.engine, "begin", count)
    try:
        return any(record.status == "failed" for record in run(place).values())
    except OperationalError:
        return True
    finally:
        event.remove(place.store.engine, "begin", count)


@only_postgresql
@pytest.mark.parametrize("number", [2, 17, 40, 61])
def test_a_cycle_that_a_restart_cut_off_is_made_up_for_once(
    desk: Desk, world: World, clock: FixedClock, number: int
) -> None:
    sold(world)
    approved(world)
    place = desk()
    assert run_and_restart_before_transaction(place, number)

    for _ in range(3):
        clock.forward(minutes=10)
        records = run(place)
    assert {record.status for record in records.values()} == {"ok"}
    assert len(credited(world)) == 1
