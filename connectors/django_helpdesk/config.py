"""The settings of a `django_helpdesk` source."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from sync.kit.rest import Secret, ServiceUrl
from sync.kit.tickets import TicketSettings
from sync.mail import OwnAddresses


class DjangoHelpdeskConfig(TicketSettings):
    """Tickets of a django-helpdesk, read by its API. Sign in with `token`, or with `username` and `password`."""

    url: ServiceUrl = Field(description="Where the helpdesk is: its API lies below it, at `/api/`.")
    token: Secret | None = Field(None, description="A token of REST framework's token authentication.")
    username: str | None = Field(None, min_length=1, description="With password: sign-in by HTTP Basic.")
    password: Secret | None = Field(None, description="Of the user that reads.")
    queues: tuple[int, ...] = Field((), description="Queues to read, by number. Empty: all that the user may see.")
    agent_addresses: tuple[str, ...] = Field(
        (), description='Addresses from which agents write mail to the helpdesk, also as "*@example.com".'
    )
    system_titles: tuple[str, ...] = Field(
        ("Ticket Escalated",),
        description="Titles of entries that the helpdesk itself writes, in the language of the site.",
    )
    opened_by_agents: Literal["customer", "agent", "skip"] = Field(
        "customer",
        description="The first text of a ticket that a signed-in user opened: as the customer's words (it was told on the"
        " phone), as the agent's, or not at all.",
    )
    overlap_seconds: float = Field(
        300.0, ge=0.0, le=86_400.0, description="How far each look goes back, because some rows become visible late."
    )

    @field_validator("agent_addresses")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        OwnAddresses(value)  # raises ValueError for what is none
        return value

    @model_validator(mode="after")
    def _one_way_to_sign_in(self) -> Self:
        by_password = self.username is not None or self.password is not None
        if (self.token is not None) == by_password or (self.username is None) != (self.password is None):
            raise ValueError("needs either token, or username and password")
        return self
