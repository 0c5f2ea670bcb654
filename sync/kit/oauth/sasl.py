"""How a token is presented to a mail server (SASL, RFC 4422): the same words in IMAP, POP3 and SMTP."""

from __future__ import annotations

from collections.abc import Callable

from .config import OAuthConfig
from .identity import Credential

TOKEN_MECHANISMS = ("XOAUTH2", "OAUTHBEARER")
"""In the order in which they are preferred: more servers have the first."""


def sasl_response(mechanism: str, credential: Credential, host: str, port: int) -> Callable[[bytes], bytes]:
    """What answers each challenge of XOAUTH2 (Google's and Microsoft's) or OAUTHBEARER (RFC 7628 §3.1): first the token;
    then, to a challenge that tells why it was refused, what ends the exchange."""
    user = credential.username
    if mechanism == "XOAUTH2":
        first, last = f"user={user}\x01auth=Bearer {credential.secret}\x01\x01", b""
    else:
        name = user.replace("=", "=3D").replace(",", "=2C")
        first = f"n,a={name},\x01host={host}\x01port={port}\x01auth=Bearer {credential.secret}\x01\x01"
        last = b"\x01"
    answers = iter([first.encode()])
    return lambda _challenge: next(answers, last)


def mail_scopes(oauth: OAuthConfig | None, *, microsoft: str) -> tuple[str, ...]:
    """What a mailbox at Google or Microsoft is asked for; `microsoft` is the protocol's own permission there."""
    if oauth is None or oauth.provider == "custom":
        return ()
    if oauth.provider == "google":
        return ("https://mail.google.com/",)
    if oauth.effective_flow == "app":
        return ("https://outlook.office365.com/.default",)
    return (f"https://outlook.office.com/{microsoft}", "offline_access")
