"""The `django_helpdesk` connector: tickets of django-helpdesk (docs/connectors/django_helpdesk.md)."""

from .config import DjangoHelpdeskConfig
from .connector import DjangoHelpdeskConnector

__all__ = ["DjangoHelpdeskConfig", "DjangoHelpdeskConnector"]
