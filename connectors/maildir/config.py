"""The settings of a `maildir` source."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import Field, field_validator

from sync.connector import ConnectorConfig


class MailFormat(StrEnum):
    """How the mail lies on disk; `auto` looks."""

    AUTO = "auto"
    MAILDIR = "maildir"
    MBOX = "mbox"
    EML = "eml"


class MaildirConfig(ConnectorConfig):
    """Mail in files on this machine."""

    path: Path = Field(description="A Maildir, an mbox file (or a folder of them), or a folder of .eml files.")
    format: MailFormat = Field(MailFormat.AUTO, description="auto, maildir, mbox or eml.")
    folders: tuple[str, ...] = Field(
        ("INBOX",), min_length=1, description='Folders to read below path; "INBOX" is path itself.'
    )
    sent: tuple[str, ...] | None = Field(
        None, description="Folders that hold what agents sent; left out: one that is called Sent, if there is one."
    )
    batch_messages: int = Field(200, ge=1, le=1000, description="Messages read at a time.")
    max_message_bytes: int | None = Field(
        None, ge=4096, description="Larger mails come as headers, the start of their text and a note."
    )
    settle_seconds: float = Field(
        0.5, ge=0, le=60, description="A file written more recently waits for the next pass: it may be half there."
    )

    @field_validator("path")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("folders", "sent")
    @classmethod
    def _inside(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in value or ():
            if not name.strip() or "\0" in name:
                raise ValueError("must not be empty")
            if ".." in Path(name).parts:
                raise ValueError(f'"{name}" must lie below path')
        return value
