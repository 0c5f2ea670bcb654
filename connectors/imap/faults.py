"""What a failure means for the operator: every error of the connection as one of the program's own (sync.errors)."""

from __future__ import annotations

import imaplib
import re
import socket
import ssl
from enum import Enum

from sync.errors import AuthError, ConfigError, InboxSyncError, TemporaryError
from sync.kit.tls import Tls

from .client import LiteralTooLong
from .config import ImapConfig
from .wire import Refused

MAX_SAID_CHARACTERS = 200
"""As much of a server's own words as an error repeats."""
MAX_RETRY_AFTER_SECONDS = 3600.0

REFUSED = "imap.auth_refused"
"""The code of a refused sign-in."""

_CODE = re.compile(r"\[([A-Z][A-Z0-9-]*)")
_BUSY_CODES = frozenset({"UNAVAILABLE", "THROTTLED", "INUSE", "LIMIT", "OVERQUOTA"})
"""RFC 5530 §3, and `THROTTLED` of Microsoft 365; `OVERQUOTA` is Gmail's bandwidth limit when it comes at login."""
_BROKEN_CODE = "SERVERBUG"
"""RFC 5530 §3: the server tripped over something, often one damaged message; not a matter of waiting alone."""
_BUSY_WORDS = re.compile(
    r"too many|try (?:again )?later|temporar|throttl|rate limit|exceeded (?:command|bandwidth)|server (?:is )?busy|"
    r"simultaneous|connection limit|shutting down|unavailable",
    re.IGNORECASE,
)
_BACKOFF_MILLISECONDS = re.compile(r"backoff time:? (\d{1,9})", re.IGNORECASE)
_BACKOFF_UNITS = re.compile(
    r"(?:in|after|wait) (\d{1,5}) ?(s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:ours?)?)\b", re.IGNORECASE
)
_NOT_TLS = (
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "UNKNOWN_PROTOCOL",
    "RECORD_LAYER_FAILURE",
    "PACKET_LENGTH_TOO_LONG",
)
_TOO_OLD = (
    "UNSUPPORTED_PROTOCOL",
    "PROTOCOL_VERSION",
    "NO_SHARED_CIPHER",
    "HANDSHAKE_FAILURE",
    "NO_PROTOCOLS_AVAILABLE",
)


class Stage(Enum):
    """How far the connection had come."""

    CONNECT = "connect"
    LOGIN = "login"
    COMMAND = "command"


def is_busy(text: str) -> bool:
    """Whether a refusal means "not now" and not "no"."""
    code = _CODE.search(text)
    return bool(code and code[1] in _BUSY_CODES) or _BUSY_WORDS.search(text) is not None


def is_broken(text: str) -> bool:
    """Whether the server says that it failed inside: another connection may fare better."""
    code = _CODE.search(text)
    return bool(code and code[1] == _BROKEN_CODE)


def is_lost(error: Exception) -> bool:
    """Whether the connection broke under the command, as one that was kept for long may: not a time-out, not a no."""
    return isinstance(error, OSError | imaplib.IMAP4.abort) and not isinstance(
        error, TimeoutError | ssl.SSLCertVerificationError
    )


def retry_after_seconds(text: str) -> float | None:
    """How long the server asked to be left alone, if its words say so."""
    if match := _BACKOFF_MILLISECONDS.search(text):
        return min(int(match[1]) / 1000, MAX_RETRY_AFTER_SECONDS)
    if match := _BACKOFF_UNITS.search(text):
        factor = {"s": 1, "m": 60, "h": 3600}[match[2][0].lower()]
        return min(float(match[1]) * factor, MAX_RETRY_AFTER_SECONDS)
    return None


def translate(
    error: Exception, config: ImapConfig, stage: Stage, folder: str = "", *, secret: str = ""
) -> InboxSyncError:
    """The error to raise instead of `error`. Anything it does not know comes back as a temporary failure of the
    connection with its class name, never with content or secrets; `secret` is what was just signed in with."""
    if isinstance(error, InboxSyncError):
        return error
    where = f"{config.host}:{config.effective_port}"
    if isinstance(error, Refused):
        return _refused(error, config, stage, folder, secret)
    if isinstance(error, LiteralTooLong):
        return TemporaryError(f"{where} sent more than was asked for.", code="imap.answer_too_long")
    if isinstance(error, ssl.SSLError):
        return _tls(error, config, where)
    if isinstance(error, imaplib.IMAP4.error):
        return _broken_off(error, config, stage, where)
    return _network(error, config, where)


def _said(text: str, config: ImapConfig, secret: str = "") -> str:
    password = config.password.get_secret_value() if config.password is not None else ""
    for word in (password, secret, config.username):
        text = text.replace(word, "…") if word else text
    text = "".join(character if character.isprintable() else " " for character in text).strip()
    return text if len(text) <= MAX_SAID_CHARACTERS else text[: MAX_SAID_CHARACTERS - 1] + "…"


def _refused(error: Refused, config: ImapConfig, stage: Stage, folder: str, secret: str) -> InboxSyncError:
    said = _said(error.text, config, secret)
    quoted = f' It says: "{said}".' if said else ""
    code = _CODE.search(error.text)
    name = code[1] if code else ""
    if error.kind == "DISABLED" and config.oauth is not None:
        return AuthError(
            f"{config.host} takes no tokens on this connection (it offers {said or 'nothing'}).",
            code="imap.no_oauth",
            next_step='Use tls = "implicit"; if it is on, this server wants a password.',
        )
    if error.kind == "DISABLED":
        return AuthError(
            f"{config.host} accepts no passwords on this connection (it offers {said or 'nothing'}).",
            code="imap.password_login_disabled",
            next_step='Use tls = "implicit" or "starttls" if TLS is off; else the provider wants another way to sign in.',
        )
    if name == "PRIVACYREQUIRED":
        return ConfigError(
            f"{config.host} wants an encrypted connection before it takes the password.",
            code="imap.tls_required",
            next_step='Set tls = "implicit" (port 993) or "starttls".',
        )
    if is_busy(error.text) or (stage is Stage.LOGIN and name == _BROKEN_CODE):
        return TemporaryError(
            f"{config.host} cannot serve this mailbox now.{quoted}",
            code="imap.throttled" if name in {"THROTTLED", "LIMIT", "OVERQUOTA", "INUSE"} else "imap.unavailable",
            next_step="It is tried again; if it stays, use fewer connections or a longer interval (every).",
            retry_after_seconds=retry_after_seconds(error.text),
        )
    if stage is Stage.LOGIN or name in {"AUTHENTICATIONFAILED", "AUTHORIZATIONFAILED", "EXPIRED"}:
        if config.oauth is not None:
            return AuthError(
                f"{config.host} refused the token for {config.username}.{quoted}",
                code=REFUSED,
                next_step="See that IMAP is allowed for this mailbox, that username is the mailbox of who signed in, and "
                "that the application may read mail; then type `inbox-sync auth SOURCE`.",
            )
        return AuthError(
            f"{config.host} refused the user name or password.{quoted}",
            code=REFUSED,
            next_step="Put the mailbox's current password (or an app password) into the secret that the source names.",
        )
    if error.command in {"EXAMINE", "STATUS"} and name in {"NOPERM", "ACL"}:
        return ConfigError(
            f'The folder "{folder}" may not be read by this user.{quoted}',
            code="imap.folder_refused",
            next_step="Give the user the right to read it, or take it out of folders.",
            folder=folder,
        )
    return TemporaryError(
        f"{config.host} did not do {error.command}{f' in folder {folder!r}' if folder else ''}.{quoted}",
        code="imap.command_refused",
        next_step="It is tried again; if it stays, the server's log says more.",
    )


def _tls(error: ssl.SSLError, config: ImapConfig, where: str) -> InboxSyncError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConfigError(
            f"The certificate of {where} cannot be trusted: {_said(error.verify_message, config)}",
            code="imap.certificate",
            next_step="Set host to the name in the certificate; for an authority of your own set ca_file; "
            "an expired certificate has to be renewed on the server.",
        )
    reason = str(getattr(error, "reason", None) or "").upper()  # not every SSLError has one
    if any(word in reason for word in _NOT_TLS):
        other = Tls.STARTTLS if config.tls is Tls.IMPLICIT else Tls.IMPLICIT
        return ConfigError(
            f"{where} does not speak TLS from the first byte.",
            code="imap.tls_mismatch",
            next_step=f'Check port and tls: perhaps tls = "{other}".',
        )
    if any(word in reason for word in _TOO_OLD):
        return ConfigError(
            f"{where} and this machine have no TLS version or cipher in common ({reason}).",
            code="imap.tls_too_old",
            next_step="The server needs TLS 1.2 or newer.",
        )
    return TemporaryError(f"The TLS connection to {where} broke off.", code="imap.connection_lost")


def _broken_off(error: imaplib.IMAP4.error, config: ImapConfig, stage: Stage, where: str) -> InboxSyncError:
    text = str(error)
    if is_busy(text):
        return TemporaryError(
            f'{config.host} closed the connection. It says: "{_said(text, config)}".',
            code="imap.throttled",
            next_step="It is tried again; if it stays, use fewer connections or a longer interval (every).",
            retry_after_seconds=retry_after_seconds(text),
        )
    if stage is Stage.CONNECT and (not isinstance(error, imaplib.IMAP4.abort) or text.startswith("unexpected")):
        return TemporaryError(
            f"{where} answers, but not as an IMAP server does.",
            code="imap.not_imap",
            next_step="Check host and port; 993 with TLS or 143 with STARTTLS are usual.",
        )
    return TemporaryError(f"{where} closed the connection.", code="imap.connection_lost")


def _network(error: Exception, config: ImapConfig, where: str) -> InboxSyncError:
    if isinstance(error, TimeoutError):
        hint = (
            " Check port and tls: a server that waits for TLS says nothing." if config.tls is not Tls.IMPLICIT else ""
        )
        return TemporaryError(
            f"{where} did not answer in time.",
            code="imap.timeout",
            next_step=f"It is tried again; check host, port and firewall if it stays.{hint}",
        )
    if isinstance(error, socket.gaierror | UnicodeError):
        return TemporaryError(
            f'The name "{config.host}" cannot be resolved.',
            code="imap.host_unknown",
            next_step="Check the spelling of host, and this machine's name service.",
        )
    if isinstance(error, ConnectionRefusedError):
        return TemporaryError(
            f"Nothing answers at {where}: the connection was refused.",
            code="imap.refused",
            next_step="Check host and port, and that the server is running.",
        )
    if isinstance(error, ConnectionError):
        return TemporaryError(f"{where} closed the connection.", code="imap.connection_lost")
    detail = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
    return TemporaryError(
        f"{where} cannot be reached: {_said(detail, config)}.",
        code="imap.unreachable",
        next_step="Check this machine's network and the server.",
    )
