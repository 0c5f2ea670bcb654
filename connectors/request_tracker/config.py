"""The settings of a `request_tracker` source."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from sync.kit.rest import Secret, ServiceUrl
from sync.kit.tickets import TicketSettings


def _a_queue(value: str) -> str:
    if not value.strip() or any(character in value for character in "'\\\n\r"):
        raise ValueError("must be the name of a queue, without quotes")
    return value.strip()


class RequestTrackerConfig(TicketSettings):
    """Tickets of a Request Tracker 5, read with an authentication token of one of its users."""

    url: ServiceUrl = Field(description="Where RT is, as in a browser: `https://rt.example.com`.")
    token: Secret = Field(description="An authentication token of the user that reads (Settings, Auth Tokens).")
    queues: tuple[Annotated[str, AfterValidator(_a_queue)], ...] = Field(
        (), description="Queues to read, by name. Empty: all that the user may see."
    )
    opened_by_agents: Literal["customer", "agent", "skip"] = Field(
        "customer",
        description="The first text of a ticket that an agent opened for a customer: as the customer's words (it was told"
        " on the phone), as the agent's, or not at all.",
    )
    overlap_transactions: int = Field(
        300,
        ge=1,
        le=10_000,
        description="How many of RT's transactions each look goes back, because some become visible late.",
    )
