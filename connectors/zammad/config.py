"""The settings of a `zammad` source."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sync.kit.rest import Secret, ServiceUrl
from sync.kit.tickets import TicketSettings


class ZammadConfig(TicketSettings):
    """The tickets of a Zammad that one token may see."""

    url: ServiceUrl = Field(description="The server: `https://help.example.com`.")
    token: Secret = Field(description="An access token (profile, Token Access) with the permission ticket.agent.")
    read_by: Literal["tickets", "articles"] = Field(
        "tickets",
        description="How news are found: `tickets` asks which tickets changed; `articles` reads the list of all articles,"
        " in fewer calls, for which the token needs the permission admin, too.",
    )
    requests_per_minute: int = Field(
        0, ge=0, le=10_000, description="Requests in a minute at most; 0: as many as the server takes."
    )
