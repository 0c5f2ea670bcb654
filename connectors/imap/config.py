"""The settings of an `imap` source."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from sync.connector import ConnectorConfig
from sync.kit.oauth import OAuthConfig
from sync.kit.tls import Tls, is_loopback

IMPLICIT_TLS_PORT = 993
"""RFC 8314 §7.3."""
PLAIN_PORT = 143
"""RFC 9051 §2.1; STARTTLS starts here too."""


MAX_IDLE_SECONDS = 1740.0
"""RFC 2177 §3: a client is to renew IDLE at least every 29 minutes, or be logged out as inactive."""


class ImapConfig(ConnectorConfig):
    """An IMAP mailbox. Special-use names (`\\Sent`, `\\Drafts`, `\\Junk`, `\\Trash`, `\\All`, `\\Archive`,
    `\\Flagged`) stand for whatever the server calls that folder, and work wherever a folder is named."""

    host: str = Field(min_length=1, description="Name of the mail server; its certificate must carry this name.")
    port: int | None = Field(None, ge=1, le=65535, description="993, or 143 with STARTTLS or without TLS.")
    tls: Tls = Field(Tls.IMPLICIT, description="implicit (from the first byte), starttls, or none (loopback only).")
    allow_plaintext: bool = Field(False, description="Allows tls = none to another machine: the password is readable.")
    ca_file: Path | None = Field(None, description="PEM file of the authority that signed the server's certificate.")
    username: str = Field(min_length=1, description="Usually the mailbox's address.")
    password: SecretStr | None = Field(None, description="Of the mailbox, or an app password made for this program.")
    oauth: OAuthConfig | None = Field(None, description="Instead of a password: how to sign in by OAuth 2.0.")
    folders: tuple[str, ...] = Field(
        ("INBOX", "\\Sent"), min_length=1, description="Folders to read, in UTF-8; special-use names work."
    )
    sent_folders: tuple[str, ...] = Field((), description="Folders, besides \\Sent, that hold what agents sent.")
    push: bool = Field(True, description="Whether to wait for new mail (IDLE) besides polling, where the server can.")
    push_folders: tuple[str, ...] | None = Field(
        None, description="Folders that are watched for it, a connection each. Default: the first of folders."
    )
    max_connections: int = Field(
        3, ge=1, le=20, description="Connections to the server at a time: one reads, the others wait for new mail."
    )
    idle_renew_seconds: float = Field(
        600.0, gt=0, le=MAX_IDLE_SECONDS, description="How long one IDLE lasts before it is renewed."
    )
    connect_timeout_seconds: float = Field(15.0, gt=0, le=300, description="For one address of the server to answer.")
    read_timeout_seconds: float = Field(60.0, gt=0, le=1800, description="Silence after which a connection is dead.")
    batch_messages: int = Field(200, ge=1, le=500, description="Messages asked for in one command.")
    max_message_bytes: int | None = Field(None, ge=4096, description="No more than this is loaded of a mail.")
    whole_max_bytes: int = Field(
        2 * 1024 * 1024, ge=0, description="Mails up to this size are loaded whole, larger ones by their parts."
    )
    full_look_seconds: float = Field(
        900.0, ge=0, description="How often a folder is looked through even if the server says that nothing is new."
    )

    @field_validator("host", "username", "folders", "sent_folders", "push_folders")
    @classmethod
    def _one_line(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for text in (value,) if isinstance(value, str) else value or ():
            if not text.strip():
                raise ValueError("must not be empty")
            if any(ord(character) < 32 or ord(character) == 127 for character in text):
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

    @property
    def watched_folders(self) -> tuple[str, ...]:
        """Folders to wait at, in order; none when push is off, and no more than there are connections for."""
        wanted = self.folders[:1] if self.push_folders is None else self.push_folders
        return wanted[: self.max_connections - 1] if self.push else ()

    @property
    def folders_are_default(self) -> bool:
        """Whether nobody chose the folders: then a mailbox without a sent folder is no fault."""
        return "folders" not in self.model_fields_set
