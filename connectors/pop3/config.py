"""The settings of a `pop3` source."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from sync.connector import ConnectorConfig
from sync.kit.oauth import OAuthConfig
from sync.kit.tls import Tls, is_loopback

IMPLICIT_TLS_PORT = 995
"""RFC 8314 §7.2."""
PLAIN_PORT = 110
"""RFC 1939 §3; STLS (RFC 2595 §4) starts here too."""


class Pop3Config(ConnectorConfig):
    """A POP3 maildrop. There is one folder, the inbox, and nothing of what agents sent: IMAP tells more wherever the
    provider has it."""

    host: str = Field(min_length=1, description="Name of the mail server; its certificate must carry this name.")
    port: int | None = Field(None, ge=1, le=65535, description="995, or 110 with STARTTLS or without TLS.")
    tls: Tls = Field(Tls.IMPLICIT, description="implicit (from the first byte), starttls, or none (loopback only).")
    allow_plaintext: bool = Field(False, description="Allows tls = none to another machine: the password is readable.")
    ca_file: Path | None = Field(None, description="PEM file of the authority that signed the server's certificate.")
    username: str = Field(min_length=1, description="Usually the mailbox's address.")
    password: SecretStr | None = Field(None, description="Of the mailbox, or an app password made for this program.")
    oauth: OAuthConfig | None = Field(None, description="Instead of a password: how to sign in by OAuth 2.0.")
    connect_timeout_seconds: float = Field(15.0, gt=0, le=300, description="For one address of the server to answer.")
    read_timeout_seconds: float = Field(60.0, gt=0, le=600, description="Silence after which a connection is dead.")
    batch_messages: int = Field(50, ge=1, le=500, description="Messages recorded at a time.")
    max_message_bytes: int | None = Field(
        None, ge=4096, description="Larger mails come as headers, the start of their text and a note."
    )

    @field_validator("host", "username")
    @classmethod
    def _one_line(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be empty")
        if any(ord(character) < 32 or ord(character) == 127 for character in value):
            raise ValueError("must not contain line breaks or other control characters")
        return value

    @field_validator("password")
    @classmethod
    def _a_password(cls, value: SecretStr | None) -> SecretStr | None:
        text = "unused" if value is None else value.get_secret_value()
        if not text:
            raise ValueError("must not be empty")
        if any(character in text for character in "\r\n\0"):
            raise ValueError("must not contain line breaks (does the secret's file hold more than the password?)")
        return value

    @model_validator(mode="after")
    def _one_way_to_sign_in(self) -> Self:
        if (self.password is None) == (self.oauth is None):
            raise ValueError('needs either password = { credential = "…" } or an oauth table')
        return self

    @model_validator(mode="after")
    def _no_readable_password(self) -> Self:
        if self.tls is Tls.NONE and not self.allow_plaintext and not is_loopback(self.host):
            raise ValueError(
                'tls = "none" would send the password readable over the network: use "implicit" or "starttls", '
                "or set allow_plaintext = true if the network in between is trusted"
            )
        return self

    @property
    def effective_port(self) -> int:
        """The configured port, or the protocol's own for this kind of TLS."""
        if self.port is not None:
            return self.port
        return IMPLICIT_TLS_PORT if self.tls is Tls.IMPLICIT else PLAIN_PORT
