"""Who writes in the plays of the state machine."""

from __future__ import annotations

ADA, ADA_AT_HOME, BOB, CLEO = "ada@example.com", "ada@home.example", "bob@example.com", "cleo@example.com"
CUSTOMERS = (ADA, ADA_AT_HOME, BOB, CLEO)
"""The first two are one contact's."""
