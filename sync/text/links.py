"""Where links lead, as a reader wants to see it: the place itself, without what is only there to count clicks."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote

MAX_URL_CHARS = 500
"""A longer link target (tracking) is left out; the link's text stays."""

MAX_WRAPPED_CHARS = 8_000
"""A link through a checking service is unwrapped up to this length."""

_WEB = re.compile(r"^(?:https?|ftp|tel|sms):", re.IGNORECASE)
_SCHEME = re.compile(r"^(?:https?://)?(?:www\.)?", re.IGNORECASE)
_TRACKING = re.compile(
    r"^(?:utm_[a-z_]+|fbclid|gclid|gbraid|wbraid|dclid|msclkid|yclid|twclid|igshid|mc_cid|mc_eid|mkt_tok|_hsenc|_hsmi"
    r"|hsCtaTracking|vero_id|oly_enc_id|oly_anon_id|ck_subscriber_id|sc_cid|_kx|s_cid)$",
    re.IGNORECASE,
)
_WRAPPERS = re.compile(
    r"^https?://(?:[a-z0-9-]+\.safelinks\.protection\.outlook\.com/|(?:www\.)?google\.[a-z.]{2,6}/url\?|l\.facebook\.com/l\.php)",
    re.IGNORECASE,
)
_WRAPPED_NAMES = ("url", "q", "u")


def target_of(href: str | None) -> str:
    """The link's target as far as it tells a reader something: web, phone and mail addresses. Without parameters that
    only count clicks (`utm_…`, `fbclid`, …) and without the checking services that mail programs put in front."""
    target = "".join((href or "")[:MAX_WRAPPED_CHARS].split())
    if target[:7].lower() == "mailto:":
        return unquote(target[7:].split("?", 1)[0])[:MAX_URL_CHARS]
    if _WEB.match(target) is None:
        return ""
    if _WRAPPERS.match(target) is not None:
        target = _unwrapped(target)
    if "?" in target:
        target = _without_tracking(target)
    return target if len(target) <= MAX_URL_CHARS else ""


def _unwrapped(target: str) -> str:
    found = dict(reversed(parse_qsl(target.partition("?")[2], max_num_fields=100)))
    for name in _WRAPPED_NAMES:
        inner = "".join(found.get(name, "").split())
        if inner[:7].lower() in {"http://", "https:/"}:
            return inner
    return target


def _without_tracking(target: str) -> str:
    address, hash_mark, fragment = target.partition("#")
    place, _, query = address.partition("?")
    kept = [pair for pair in query.split("&") if _TRACKING.match(pair.partition("=")[0]) is None]
    return place + ("?" + "&".join(kept) if kept and kept != [""] else "") + hash_mark + fragment


def says(said: str, target: str) -> bool:
    """True when the link's text already names its target."""
    bare_target = _SCHEME.sub("", target).rstrip("/").lower()
    bare_said = _SCHEME.sub("", said).rstrip("/").lower()
    if bare_said == bare_target or bare_target in said.lower():
        return True
    scheme, _, rest = target.partition(":")
    return scheme.lower() in {"tel", "sms"} and _digits(rest) == _digits(said)


def _digits(text: str) -> str:
    return "".join(char for char in text if char.isdigit())
