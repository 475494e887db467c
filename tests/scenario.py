"""One order and one return, in the shape in which both systems send them; tests change what they are about."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from swapsync.sandbox.world import World, customer_row, line_item, purchase_row, return_line, return_row, stable_uuid

BUYER = "buyer@shop.example"
OTHER = "other@else.example"
SUBMITTED = datetime(2026, 3, 5, 9, 0, tzinfo=UTC)


def sold(world: World, **changes: Any) -> None:
    """Order #5001 of the buyer, on account, PO-1: 10 MUG, 100.00 net and 20.00 tax together."""
    for email in (BUYER, OTHER):
        world.sparklayer.put_customer(customer_row(email))
    world.sparklayer.put_purchase(
        purchase_row(
            **{
                "platform_id": "5001",
                "visible": "#5001",
                "customer_id": stable_uuid(f"customer:{BUYER}"),
                "customer_reference": "PO-1",
                "lines": [mugs()],
                "placed": datetime(2026, 2, 20, 9, 0, tzinfo=UTC),
            }
            | changes
        )
    )


def mugs(**changes: Any) -> dict[str, Any]:
    """The order line of 10 MUG."""
    return line_item(
        **{"sku": "MUG", "quantity": 10, "net": "100.00", "tax": "20.00", "line_item_id": "71", "variant_id": "81"}
        | changes
    )


def returned(world: World, **changes: Any) -> None:
    """Return R1 of 4 of the mugs: delivered and open. Worth 48.00."""
    world.swap.put_return(
        return_row(
            **{
                "return_id": "ret-1",
                "rma_number": "R1",
                "order_id": "5001",
                "order_name": "#5001",
                "customer_email": BUYER,
                "lines": [return_line("MUG", 4, line_item_id="71")],
                "delivery_status": "Delivered",
                "total": Decimal("48.00"),
                "created": SUBMITTED,
            }
            | changes
        )
    )


def approved(world: World, **changes: Any) -> None:
    """The same return, closed and approved in Swap, nothing refunded there."""
    returned(world, **{"return_status": "Closed", "quality_control_status": "Approved"} | changes)


def credited(world: World, platform_id: str = "5001") -> list[str]:
    """The amounts of the transactions that stand on the order."""
    return [transaction["total"]["number"] for transaction in world.sparklayer.transactions(platform_id)]
