"""The settings of a `freshdesk` source."""

from __future__ import annotations

from pydantic import Field

from sync.kit.rest import Secret, ServiceUrl
from sync.kit.tickets import TicketSettings


class FreshdeskConfig(TicketSettings):
    """The tickets of a Freshdesk account."""

    url: ServiceUrl = Field(description="The account: `https://acme.freshdesk.com`.")
    api_key: Secret = Field(description="The API key of an agent who sees all tickets (Profile settings).")
    requests_per_minute: int = Field(
        40,
        ge=5,
        le=10_000,
        description="Requests in a minute at most, over all sources on this account; less when Freshdesk says so. Its"
        " budget belongs to the account, so leave some to others.",
    )
