"""A connector to configure and a file to write, for the tests of the configuration."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator

from sync.connector import ConnectorConfig, ConnectorInfo, Finding, PassContext, Stream
from sync.message import Batch, Json
from sync.registry import Offer, Registry


class Proxy(BaseModel):
    host: str
    password: SecretStr


class PostboxConfig(ConnectorConfig):
    host: str = Field(description="Name of the server.")
    port: int = Field(993, ge=1, le=65535, description="Its port.")
    username: str = Field(description="The account.")
    password: SecretStr = Field(description="Its password.")
    folders: tuple[str, ...] = Field(("INBOX",), min_length=1, description="Folders to read.")
    tls: bool = Field(True, description="Whether the connection is protected.")
    proxies: tuple[Proxy, ...] = Field((), description="On the way.")

    @field_validator("username")
    @classmethod
    def _breaks(cls, value: str) -> str:
        if value == "explode":
            raise RuntimeError("a bug in the plugin")
        return value

    @model_validator(mode="after")
    def _a_pin(self) -> Self:
        if self.username == "pin" and not self.password.get_secret_value().isdigit():
            raise ValueError("the password of a pin account is four digits")
        return self


class Postbox:
    info: ClassVar[ConnectorInfo] = ConnectorInfo("postbox", "a post box", permissions=("to read",))
    Config: ClassVar[type[ConnectorConfig]] = PostboxConfig

    def __init__(self, config: ConnectorConfig) -> None:
        self.config = config

    @property
    def account(self) -> str:
        return "postbox"

    async def check(self, ctx: PassContext) -> Sequence[Finding]:
        return []

    async def streams(self, ctx: PassContext) -> Sequence[Stream]:
        return []

    async def poll(self, stream: Stream, cursor: Json, ctx: PassContext) -> AsyncIterator[Batch]:
        nothing: tuple[Batch, ...] = ()
        for batch in nothing:
            yield batch

    async def aclose(self) -> None:
        return None


def broken_import() -> object:
    raise ImportError("no library\n  called libpost")


def registry() -> Registry:
    return Registry(
        [
            Offer("postbox", "postbox:Postbox", "postbox-plugin", "1.0", lambda: Postbox),
            Offer("broken", "broken:Broken", "broken-plugin", "2.0", broken_import),
        ]
    )


INBOX = """\
[inbox.main]
site_id = "11111111-1111-4111-8111-111111111111"
api_key = { env = "KEY" }
"""
SOURCE = """\
[sources.support]
connector = "postbox"
host = "mail.example.com"
username = "support@example.com"
password = { env = "PASSWORD" }
"""
GOOD = INBOX + SOURCE
ENVIRON = {"KEY": "key-value", "PASSWORD": "pass-word"}


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, "utf-8")
    return path
