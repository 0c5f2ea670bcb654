"""A REST service, for connectors: calls, sign-in, budgets, paging and files (docs/design/0012-rest-kit.md)."""

from .auth import Auth, BasicAuth, OAuthAuth, StaticAuth
from .budget import Budget
from .client import Got, RestClient
from .config import Secret, ServiceUrl
from .pages import by_cursor, by_link, by_number, by_url, growing_ids, moving_window

__all__ = [
    "Auth",
    "BasicAuth",
    "Budget",
    "Got",
    "OAuthAuth",
    "RestClient",
    "Secret",
    "ServiceUrl",
    "StaticAuth",
    "by_cursor",
    "by_link",
    "by_number",
    "by_url",
    "growing_ids",
    "moving_window",
]
