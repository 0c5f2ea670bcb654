"""The settings of a `jmap` source."""

from __future__ import annotations

from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from sync.connector import ConnectorConfig
from sync.kit.oauth import OAuthConfig
from sync.kit.tls import is_loopback


class JmapConfig(ConnectorConfig):
    """A mailbox on a JMAP server. Sign in with `token` (a bearer token, an API token), with `username` and `password`, or
    with `username` and an `oauth` table."""

    url: str = Field(description="The server (`https://mail.example.com`), or the address of its session resource.")
    token: SecretStr | None = Field(None, description="A bearer token: what most providers call an API token.")
    username: str | None = Field(None, min_length=1, description="With password (HTTP Basic) or oauth: the mailbox.")
    password: SecretStr | None = Field(None, description="Of the mailbox, or an app password made for this program.")
    oauth: OAuthConfig | None = Field(None, description="Instead of a password or token: how to sign in by OAuth 2.0.")
    other_hosts: tuple[str, ...] = Field(
        (),
        description="Hosts, besides the one in url, that may get the sign-in because the provider answers there, too.",
    )
    account_id: str | None = Field(None, description="Which account, if the sign-in reaches several.")
    mailboxes: tuple[str, ...] = Field(
        ("inbox", "sent"), min_length=1, description="Mailboxes to read, by role (inbox, sent, archive, junk) or name."
    )
    sent_mailboxes: tuple[str, ...] = Field((), description="Mailboxes, besides sent, that hold what agents sent.")
    push: bool = Field(True, description="Whether to wait for new mail besides polling, where the server tells of it.")
    batch_messages: int = Field(100, ge=1, le=500, description="Messages asked for in one call.")
    max_message_bytes: int | None = Field(
        None, ge=4096, description="Of larger mails the start of the text is loaded, and their files one by one."
    )

    @field_validator("url")
    @classmethod
    def _an_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an address such as https://mail.example.com")
        if parts.username or parts.password:
            raise ValueError("must hold no password: use username and password, or token")
        if parts.scheme == "http" and not is_loopback(parts.hostname):
            raise ValueError("must begin with https: the password would travel readable")
        return value

    @field_validator("token", "password")
    @classmethod
    def _a_secret(cls, value: SecretStr | None) -> SecretStr | None:
        text = "x" if value is None else value.get_secret_value()
        if not text:
            raise ValueError("must not be empty")
        if any(ord(character) < 32 or ord(character) == 127 for character in text):
            raise ValueError("must not contain line breaks (does the secret's file hold more than the secret?)")
        return value

    @field_validator("other_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if not host or any(character in host for character in "/@ "):
                raise ValueError("must be names of hosts, such as download.example.com")
        return tuple(host.lower() for host in value)

    @model_validator(mode="after")
    def _one_way_to_sign_in(self) -> Self:
        ways = sum(one is not None for one in (self.token, self.password, self.oauth))
        if ways != 1 or (self.username is None) != (self.token is not None):
            raise ValueError("needs either token, or username and password, or username and an oauth table")
        if self.oauth is not None and self.oauth.provider != "custom":
            raise ValueError('Google and Microsoft have no JMAP: oauth needs provider = "custom", or use imap')
        return self

    @property
    def host(self) -> str:
        """The server's name, with its port where the address has one."""
        return urlsplit(self.url).netloc.lower()
