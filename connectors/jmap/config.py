"""The settings of a `jmap` source."""

from __future__ import annotations

from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from sync.connector import ConnectorConfig
from sync.kit.tls import is_loopback


class JmapConfig(ConnectorConfig):
    """A mailbox on a JMAP server. Sign in with `token` (a bearer token, an API token), or with `username` and
    `password`."""

    url: str = Field(description="The server (`https://mail.example.com`), or the address of its session resource.")
    token: SecretStr | None = Field(None, description="A bearer token: what most providers call an API token.")
    username: str | None = Field(None, min_length=1, description="With password: sign-in by HTTP Basic.")
    password: SecretStr | None = Field(None, description="Of the mailbox, or an app password made for this program.")
    account_id: str | None = Field(None, description="Which account, if the sign-in reaches several.")
    mailboxes: tuple[str, ...] = Field(
        ("inbox", "sent"), min_length=1, description="Mailboxes to read, by role (inbox, sent, archive, junk) or name."
    )
    sent_mailboxes: tuple[str, ...] = Field((), description="Mailboxes, besides sent, that hold what agents sent.")
    batch_messages: int = Field(100, ge=1, le=500, description="Messages asked for in one call.")
    max_message_bytes: int | None = Field(
        None, ge=4096, description="Larger mails come as headers, the start of their text and a note."
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

    @model_validator(mode="after")
    def _one_way_to_sign_in(self) -> Self:
        by_password = self.username is not None or self.password is not None
        if (self.token is not None) == by_password or (self.username is None) != (self.password is None):
            raise ValueError("needs either token, or username and password")
        return self

    @property
    def host(self) -> str:
        """The server's name, with its port where the address has one."""
        return urlsplit(self.url).netloc.lower()
