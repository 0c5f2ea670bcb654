"""What a failure means for the operator: every error of the connection as one of the program's own (sync.errors)."""

from __future__ import annotations

import re
import socket
import ssl
from enum import Enum

from sync.errors import AuthError, ConfigError, InboxSyncError, TemporaryError
from sync.kit.tls import Tls

from .config import Pop3Config
from .wire import AnswerTooLong, NoTokens, NotPop3, Refused

MAX_SAID_CHARACTERS = 200
"""As much of a server's own words as an error repeats."""

REFUSED = "pop3.auth_refused"
"""The code of a refused sign-in."""
MAX_RETRY_AFTER_SECONDS = 3600.0

_CODE = re.compile(r"^\s*\[([A-Z][A-Z0-9/-]*)\]", re.IGNORECASE)
_BUSY_CODES = frozenset({"IN-USE", "LOGIN-DELAY", "SYS/TEMP"})
"""RFC 2449 §8.1, RFC 3206 §4."""
_BUSY_WORDS = re.compile(
    r"too many|try (?:again )?later|try again|temporar|throttl|rate limit|locked|in use|busy|simultaneous|"
    r"connection limit|shutting down|unavailable|login delay|already (?:open|logged)",
    re.IGNORECASE,
)
_NOT_TLS = (
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "UNKNOWN_PROTOCOL",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH_TOO_LONG",
)


class Stage(Enum):
    """How far the session had come."""

    CONNECT = "connect"
    LOGIN = "login"
    COMMAND = "command"


def translate(
    error: Exception, config: Pop3Config, stage: Stage, *, secret: str = "", login_delay: str = ""
) -> InboxSyncError:
    """The error to raise instead of `error`. Anything it does not know comes back as a temporary failure of the
    connection with its class name, never with content or secrets; `secret` is what was just signed in with,
    `login_delay` what the server says of pauses between two sign-ins."""
    if isinstance(error, InboxSyncError):
        return error
    where = f"{config.host}:{config.effective_port}"
    if isinstance(error, Refused):
        return _refused(error, config, stage, secret, login_delay)
    if isinstance(error, NoTokens):
        return AuthError(
            f"{config.host} takes no tokens on this connection (it offers {error.offered or 'nothing'}).",
            code="pop3.no_oauth",
            next_step='Use tls = "implicit"; if it is on, this server wants a password.',
        )
    if isinstance(error, AnswerTooLong):
        return TemporaryError(
            f"{where} sent more than was asked for.", code="pop3.answer_too_long", next_step="It is tried again."
        )
    if isinstance(error, NotPop3):
        return TemporaryError(
            f"{where} answers, but not as a POP3 server does.",
            code="pop3.not_pop3",
            next_step="Check host and port; 995 with TLS or 110 with STARTTLS are usual.",
        )
    if isinstance(error, ssl.SSLError):
        return _tls(error, config, where)
    return _network(error, config, where)


def _said(text: str, config: Pop3Config, secret: str = "") -> str:
    password = config.password.get_secret_value() if config.password is not None else ""
    for word in (password, secret, config.username):
        text = text.replace(word, "…") if word else text
    text = "".join(character if character.isprintable() else " " for character in text).strip()
    return text if len(text) <= MAX_SAID_CHARACTERS else text[: MAX_SAID_CHARACTERS - 1] + "…"


def login_delay_seconds(capability: str) -> float | None:
    """How long the server wants between two sign-ins (RFC 2449 §6.5: `LOGIN-DELAY 900`)."""
    number = capability.partition(" ")[0]
    return min(float(number), MAX_RETRY_AFTER_SECONDS) if number.isascii() and number.isdigit() else None


def _refused(error: Refused, config: Pop3Config, stage: Stage, secret: str, login_delay: str) -> InboxSyncError:
    said = _said(error.text, config, secret)
    quoted = f' It says: "{said}".' if said else ""
    match = _CODE.search(error.text)
    code = match[1].upper() if match else ""
    if code in _BUSY_CODES or (code != "AUTH" and _BUSY_WORDS.search(error.text)):
        return TemporaryError(
            f"{config.host} cannot serve this maildrop now.{quoted}",
            code="pop3.in_use" if code == "IN-USE" else "pop3.unavailable",
            next_step="It is tried again; if it stays, another program keeps the maildrop open, or the interval (every) "
            "is shorter than the provider allows.",
            retry_after_seconds=login_delay_seconds(login_delay) if code == "LOGIN-DELAY" else None,
        )
    if code == "SYS/PERM":
        return TemporaryError(
            f"{config.host} cannot open this maildrop until somebody mends it.{quoted}",
            code="pop3.server_fault",
            next_step="Ask the provider; it is tried again meanwhile.",
        )
    if stage is Stage.LOGIN or code == "AUTH":
        return _sign_in_refused(config, quoted)
    return TemporaryError(
        f"{config.host} did not do {error.command}.{quoted}",
        code="pop3.command_refused",
        next_step="It is tried again; if it stays, the server's log says more.",
    )


def _sign_in_refused(config: Pop3Config, quoted: str) -> AuthError:
    if config.oauth is not None:
        return AuthError(
            f"{config.host} refused the token for {config.username}.{quoted}",
            code=REFUSED,
            next_step="See that POP is allowed for this mailbox, that username is the mailbox of who signed in, and "
            "that the application may read mail over POP; then type `inbox-sync auth SOURCE`.",
        )
    return AuthError(
        f"{config.host} refused the user name or password.{quoted}",
        code=REFUSED,
        next_step="Put the mailbox's current password (or an app password) into the secret that the source names, "
        "and see that the provider allows POP3 for this mailbox.",
    )


def _tls(error: ssl.SSLError, config: Pop3Config, where: str) -> InboxSyncError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConfigError(
            f"The certificate of {where} cannot be trusted: {_said(error.verify_message, config)}",
            code="pop3.certificate",
            next_step="Set host to the name in the certificate; for an authority of your own set ca_file; "
            "an expired certificate has to be renewed on the server.",
        )
    reason = str(getattr(error, "reason", None) or "").upper()  # not every SSLError has one
    if any(word in reason for word in _NOT_TLS):
        other = Tls.STARTTLS if config.tls is Tls.IMPLICIT else Tls.IMPLICIT
        return ConfigError(
            f"{where} does not speak TLS from the first byte.",
            code="pop3.tls_mismatch",
            next_step=f'Check port and tls: perhaps tls = "{other}".',
        )
    return TemporaryError(
        f"The TLS connection to {where} broke off.", code="pop3.connection_lost", next_step="It is tried again."
    )


def _network(error: Exception, config: Pop3Config, where: str) -> InboxSyncError:
    if isinstance(error, TimeoutError):
        hint = "" if config.tls is Tls.IMPLICIT else " Check port and tls: a server that waits for TLS says nothing."
        return TemporaryError(
            f"{where} did not answer in time.",
            code="pop3.timeout",
            next_step=f"It is tried again; check host, port and firewall if it stays.{hint}",
        )
    if isinstance(error, socket.gaierror | UnicodeError):
        return TemporaryError(
            f'The name "{config.host}" cannot be resolved.',
            code="pop3.host_unknown",
            next_step="Check the spelling of host, and this machine's name service.",
        )
    if isinstance(error, ConnectionRefusedError):
        return TemporaryError(
            f"Nothing answers at {where}: the connection was refused.",
            code="pop3.refused",
            next_step="Check host and port, and that the server is running.",
        )
    if isinstance(error, ConnectionError):
        return TemporaryError(
            f"{where} closed the connection.", code="pop3.connection_lost", next_step="It is tried again."
        )
    detail = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return TemporaryError(
        f"{where} cannot be reached: {_said(detail, config)}.",
        code="pop3.unreachable",
        next_step="Check this machine's network and the server.",
    )
