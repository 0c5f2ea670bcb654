"""The settings of a `zendesk` source."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from sync.kit.rest import Secret, ServiceUrl
from sync.kit.tickets import TicketSettings


class ZendeskConfig(TicketSettings):
    """The tickets of a Zendesk account. Sign in with `email` and `api_token`, or with `oauth_token`."""

    url: ServiceUrl = Field(description="The account: `https://acme.zendesk.com`.")
    email: str | None = Field(None, min_length=3, description="With api_token: the administrator it acts as.")
    api_token: Secret | None = Field(None, description="An API token (Admin Center, Apps and integrations, APIs).")
    oauth_token: Secret | None = Field(None, description="An OAuth access token of an administrator, scope read.")
    exports_per_minute: int = Field(
        10,
        ge=1,
        le=100,
        description="Incremental exports in a minute: Zendesk allows 10, with its High Volume add-on 30.",
    )
    requests_per_minute: int = Field(
        150,
        ge=5,
        le=10_000,
        description="Requests in a minute at most, over all sources on this account; less when Zendesk says so. Its"
        " budget belongs to the account, so leave some to others.",
    )

    @model_validator(mode="after")
    def _one_way_to_sign_in(self) -> Self:
        by_key = self.email is not None or self.api_token is not None
        if (self.oauth_token is not None) == by_key or (self.email is None) != (self.api_token is None):
            raise ValueError("needs either email and api_token, or oauth_token")
        return self
