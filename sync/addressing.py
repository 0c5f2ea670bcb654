"""The direction of a message, and who it is delivered to. Pure."""

from __future__ import annotations

from dataclasses import replace

from sync.connector import StreamRole
from sync.decide import Hold, Loaded, Skip, SourceRules
from sync.message import Direction, Message, Participant, ParticipantKind
from sync.states import Reason
from sync.text.clean import clean_line

MAX_PARTICIPANTS = 50
"""More customers than this in one outgoing message make it a mailing, not a conversation."""

MAX_FILES_NAMED = 10


def address_message(message: Message, rules: SourceRules, whole_text: str | None = None) -> Loaded | Skip:
    """The direction of a message and its participants. `whole_text`: its text before quotes were taken out.

    Where the service says who is an agent (`direction` set), it is believed. For mail, own addresses decide: in a sent
    stream a message goes to its recipients, elsewhere it comes from its author, or from whom the source's rules about
    senders name. A customer's mail that was filed in a sent folder (author not own, an own address among the recipients)
    still comes from its author.
    """
    loop = rules.senders.own_output(message)
    if loop is not None and not rules.overruled:
        return loop
    if message.direction is not None:
        return _told(message, rules)
    author_is_own = message.author is not None and _own(message.author, rules)
    if rules.role is StreamRole.SENT and (author_is_own or not any(_own(r, rules) for r in message.recipients)):
        return _outgoing(message, rules)
    return _incoming(message, rules, message.text if whole_text is None else whole_text)


def _told(message: Message, rules: SourceRules) -> Loaded | Skip:
    """A message whose service says who is an agent. A customer with an own address is none."""
    if not message.participants:
        return Skip(Reason.NO_IDENTITY, "the service names no customer")
    customers = tuple(one for one in message.participants if not _own(one, rules))
    if not customers:
        return Skip(Reason.OWN_ADDRESS, "the customer's address is one of the inbox's own")
    if len(customers) > MAX_PARTICIPANTS:
        return Skip(
            Reason.POLICY, f"it was sent to {len(customers)} customers; more than {MAX_PARTICIPANTS} is a mailing"
        )
    recipients = tuple(one for one in message.recipients if not _own(one, rules))
    shown = replace(message, participants=customers, recipients=recipients)
    return Loaded(_activity(shown, shown.activity) if shown.activity else shown, customers)


def _outgoing(message: Message, rules: SourceRules) -> Loaded | Skip:
    customers: dict[str, Participant] = {}
    for recipient in message.recipients:
        if not _own(recipient, rules):
            customers.setdefault(recipient.value, recipient)
    if not customers and message.recipients:
        return Skip(Reason.INTERNAL, "it was sent from an own address to own addresses only")
    if not customers:
        return Skip(Reason.NO_IDENTITY, "it was sent to nobody")
    if len(customers) > MAX_PARTICIPANTS:
        return Skip(
            Reason.POLICY, f"it was sent to {len(customers)} customers; more than {MAX_PARTICIPANTS} is a mailing"
        )
    participants = tuple(customers.values())
    shown = replace(
        message, direction=Direction.BUSINESS_TO_PARTICIPANT, participants=participants, recipients=participants
    )
    return Loaded(shown, participants)


def _incoming(message: Message, rules: SourceRules, whole_text: str) -> Loaded | Skip:
    if message.author is None:
        return Skip(Reason.NO_IDENTITY, "it has no sender")
    judged = rules.senders.judge(message, whole_text)
    customer = judged.customer
    if customer is None:
        return Skip(Reason.NO_IDENTITY, "no rule about participants found the customer's address in it")
    if _own(customer, rules):
        return Skip(Reason.OWN_ADDRESS, "From is one of the inbox's own addresses, outside a sent folder")
    if judged.skip is not None and not rules.overruled:
        return judged.skip
    others = _other_customers(message, customer, rules)
    shown = replace(
        message,
        direction=Direction.PARTICIPANT_TO_BUSINESS,
        participants=(customer,),
        recipients=others,
        author=customer,
        notes=(*judged.notes, *message.notes),
    )
    if judged.activity and not rules.overruled:
        shown = _activity(shown, judged.activity)
    hold: Hold | None = None if rules.overruled else judged.hold
    return Loaded(shown, (customer,), hold)


def _activity(message: Message, words: str) -> Message:
    """One line has no room for files: they are named."""
    if not message.attachments:
        return replace(message, activity=words)
    names = [clean_line(one.filename) or "unnamed file" for one in message.attachments]
    more = f" and {len(names) - MAX_FILES_NAMED} more" if len(names) > MAX_FILES_NAMED else ""
    note = f"Not brought over: {', '.join(names[:MAX_FILES_NAMED])}{more}."
    return replace(message, activity=words, attachments=(), notes=(*message.notes, note))


def _other_customers(message: Message, customer: Participant, rules: SourceRules) -> tuple[Participant, ...]:
    """Customers beside the author, who are shown and not delivered to. When no own address is among the recipients, the
    mail came by an alias that nobody listed, or by Bcc: a single recipient is that alias."""
    others = tuple(one for one in message.recipients if not _own(one, rules) and one.value != customer.value)
    if len(others) == len(message.recipients) == 1:
        return ()
    return others


def _own(participant: Participant, rules: SourceRules) -> bool:
    return participant.kind is ParticipantKind.EMAIL and rules.is_own(participant.value)
