"""What a job works with: one site's settings, the store, both connections and the clock."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event as Signal

from sqlalchemy import Connection as SqlConnection

from swapsync.clock import Clock
from swapsync.connectors.sparklayer import OrderRef, SparkLayerClient
from swapsync.connectors.swap import SwapClient
from swapsync.domain.facts import Policy, Shipping
from swapsync.domain.kits import Kits
from swapsync.domain.stock import Location
from swapsync.settings import SiteSettings
from swapsync.store import leases, runs
from swapsync.store.db import Store
from swapsync.store.leases import Lease
from swapsync.store.mappings import payment_routes


class JobError(Exception):
    """A job can't go on, and a person can mend it; the message says how."""


@dataclass
class Tally:
    """What a run did: rows read, rows changed here, effects sent, effects that failed; and what to say about it."""

    read: int = 0
    changed: int = 0
    sent: int = 0
    failed: int = 0
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Workplace:
    """One site's desk; while a job is done at it, with the job's ``lease``."""

    site: SiteSettings
    store: Store
    swap: SwapClient
    sparklayer: SparkLayerClient
    clock: Clock
    effects_from: datetime
    lease: Lease | None = None
    stopping: Signal = field(default_factory=Signal)
    """Set once nothing is to be begun here any more."""

    @property
    def slug(self) -> str:
        return self.site.slug

    @property
    def locations(self) -> Mapping[Location, str]:
        """SparkLayer's external id of each location that we write to."""
        return {
            Location.INSPECTION: self.site.inspection_location,
            Location.DAMAGED: self.site.damaged_location,
            Location.SELLABLE: self.site.sellable_location,
        }

    @contextmanager
    def writing(self) -> Iterator[SqlConnection]:
        """A unit of work on the site's data, one at a time on any number of hosts: all of it or nothing.

        Raises LostLease, and changes nothing, when another worker has taken over the job that this one is doing.
        """
        with self.store.transaction() as connection:
            runs.lock_site(connection, self.slug)
            if self.lease:
                leases.verify(connection, self.lease)
            yield connection

    def hand_back(self) -> None:
        """Has what is being done here end with the call that is under way; what is left is for the next run."""
        self.stopping.set()
        for side in (self.swap, self.sparklayer):
            side.stop("not called, as this worker is stopping; the next run goes on from here")

    @property
    def held(self) -> Lease:
        """The lease of the job that is being done."""
        assert self.lease, "effects are delivered by a job, under its lease"
        return self.lease

    def require_lease(self) -> None:
        """To be asked right before a write outside. Raises LostLease when another worker has taken over this job."""
        if self.lease:
            with self.store.reading() as connection:
                leases.verify(connection, self.lease)

    def policy(self, connection: SqlConnection) -> Policy:
        """The site's rules as the domain reads them: what is configured, and how people said methods are made good."""
        routes = payment_routes(connection, {self.slug: self.site.payment_routes})[self.slug]
        return Policy(
            settle_on=self.site.settle_on,
            restock_on=self.site.restock_on,
            uses_swap_qc=self.site.uses_swap_qc,
            po_required=self.site.po_required,
            routes=routes,
            amount_tolerance=self.site.amount_tolerance,
            amount_tolerance_percent=self.site.amount_tolerance_percent,
            credit_shipping=Shipping(self.site.credit_shipping),
            deduct_handling_fee=self.site.deduct_handling_fee,
            approve_above=self.site.approve_above,
            reasons=self.site.reasons,
            kits=self.site.kits_file or Kits(),
        )


def order_ref(order_id: str, platform_id: str, visible: str) -> OrderRef:
    """The surest name by which SparkLayer knows an order."""
    if platform_id:
        return OrderRef("platform", platform_id)
    if order_id.startswith("visible:"):
        return OrderRef("visible", visible)
    return OrderRef("sparklayer", order_id)
