"""The ledger: the only importer of SQLAlchemy. One noun per file; every method is one transaction.

Ledger          opens the database; `ledger.messages`, `ledger.deliveries`, … are its nouns
rows            what goes in and comes out
migrate         bringing a database to the present revision (`inbox-sync db …`)
"""

from sync.ledger.attachments import Spooled
from sync.ledger.engine import process_name
from sync.ledger.ledger import Ledger
from sync.ledger.messages import EditedIds, ToSend
from sync.ledger.migrate import SchemaState
from sync.ledger.rows import (
    Backfill,
    BackfillItem,
    BackfillTerms,
    DeliveryRow,
    EventRow,
    Fault,
    FoundRow,
    InboxRow,
    InboxStatus,
    Lease,
    LeaseLost,
    LeaseRef,
    Mapped,
    Mark,
    MessageFilter,
    MessageLine,
    Moved,
    ParticipantRow,
    PassEnd,
    Preview,
    Progressed,
    Recorded,
    SourceRow,
    SourceStatus,
    Standing,
    Status,
    StoryRow,
    StreamRow,
    View,
)

__all__ = [
    "Backfill",
    "BackfillItem",
    "BackfillTerms",
    "DeliveryRow",
    "EditedIds",
    "EventRow",
    "Fault",
    "FoundRow",
    "InboxRow",
    "InboxStatus",
    "Lease",
    "LeaseLost",
    "LeaseRef",
    "Ledger",
    "Mapped",
    "Mark",
    "MessageFilter",
    "MessageLine",
    "Moved",
    "ParticipantRow",
    "PassEnd",
    "Preview",
    "Progressed",
    "Recorded",
    "SchemaState",
    "SourceRow",
    "SourceStatus",
    "Spooled",
    "Standing",
    "Status",
    "StoryRow",
    "StreamRow",
    "ToSend",
    "View",
    "process_name",
]
