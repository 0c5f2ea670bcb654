"""What `inbox-sync check` says of a maildrop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sync.connector import Finding, Severity
from sync.kit.tls import Tls

from .config import Pop3Config
from .faults import login_delay_seconds


def findings(config: Pop3Config, count: int, capabilities: Mapping[str, str]) -> Iterator[Finding]:
    """Of a session that worked: `count` messages, and what the server says it can."""
    where = f"{config.host}:{config.effective_port}"
    protected = "without TLS" if config.tls is Tls.NONE else "its certificate is verified"
    holds = "1 message" if count == 1 else f"{count} messages"
    yield Finding(
        Severity.OK,
        f"Signed in at {where} as {config.username}; {protected}. The maildrop holds {holds}.",
        code="pop3.signed_in",
    )
    yield Finding(
        Severity.NOTE,
        "POP3 shows the inbox only: replies that agents send from a mail program are not seen.",
        next_step='Use connector = "imap" if the provider has it.',
        code="pop3.inbox_only",
    )
    delay = login_delay_seconds(capabilities.get("LOGIN-DELAY", ""))
    if delay:
        yield Finding(
            Severity.NOTE,
            f"The server wants {delay:g} seconds between two sign-ins.",
            next_step=f'Set every = "{delay:g}s" or more.',
            code="pop3.login_delay",
        )
    if capabilities.get("EXPIRE", "").partition(" ")[0] == "0":  # RFC 2449 §6.7
        yield Finding(
            Severity.WARNING,
            "The server may remove messages once they were read.",
            next_step="Let the provider keep mail on the server after POP has read it, or use IMAP.",
            code="pop3.expires",
        )
    if config.tls is Tls.NONE and config.allow_plaintext:
        yield Finding(
            Severity.WARNING,
            f"The password travels readable to {where}.",
            next_step='Use tls = "implicit" or "starttls" if the server has it.',
            code="pop3.plaintext",
        )
