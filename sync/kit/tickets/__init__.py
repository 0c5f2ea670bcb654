"""Ticket services, for connectors: what a helpdesk says, as messages (docs/design/0012-rest-kit.md)."""

from .bytickets import HORIZON_MARGIN, ByTickets, Ticket
from .connector import Entry, Look, TicketConnector, taken_back
from .said import Person, Said, TicketSettings, message_of, version_of

__all__ = [
    "HORIZON_MARGIN",
    "ByTickets",
    "Entry",
    "Look",
    "Person",
    "Said",
    "Ticket",
    "TicketConnector",
    "TicketSettings",
    "message_of",
    "taken_back",
    "version_of",
]
