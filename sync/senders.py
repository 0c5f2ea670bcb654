"""The rules about senders: whose words a mail is, what becomes of mail that no person wrote, and of forged senders.

What kind of mail it is, and what a mail server found out about its sender, `sync.mail` tells; what an operator wants done
about it stands in the source's settings; here both meet. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sync.decide import Hold, Judgement, Skip
from sync.mail.address import OwnAddresses, normalise_address, parse_addresses
from sync.mail.authentication import Result, dmarc_of
from sync.mail.machine import MachineRules, MailClass, Verdict, classify_message, is_loop
from sync.message import Message, Participant, ParticipantKind
from sync.settings import ParticipantRule, SourceSettings
from sync.states import Reason
from sync.text.clean import clean_line

UNVERIFIED_CODE = "sender.unverified"
MAX_DETAIL_CHARS = 300
MAX_LINES_READ = 500
"""Lines of a text in which a rule looks for its label: forms put their fields first."""

MAX_FORM_NAME_CHARS = 100
"""A longer line of a form is no name."""

WEAK_RULES = frozenset({"null_return_path", "suppressed_answers", "precedence"})
"""Rules that people's mail may meet, too: what they find is shown silently where the policy is to skip."""

_ADDRESS = re.compile(r"[^\s\"'(),:;<>\[\]|\\@]{1,64}@[^\s\"'(),:;<>\[\]|\\@]{1,255}")
_MARKS = " \t*_>-•·"
_BETWEEN = re.compile(r"[\s*_]*(?:[:：=|]|$)")


class Treatment(StrEnum):
    """What becomes of a kind of mail."""

    DELIVER = "deliver"
    ACTIVITY = "activity"
    SKIP = "skip"


class Unverified(StrEnum):
    """What becomes of a mail whose From is not proven to be its sender's."""

    NOTE = "note"
    HOLD = "hold"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a class of mail is told: the reason of a skip, and the words of an activity."""

    reason: Reason
    words: str


_KINDS: Mapping[MailClass, _Kind] = {
    MailClass.AUTO_REPLY: _Kind(Reason.AUTO_REPLY, "Automatic reply"),
    MailClass.BOUNCE: _Kind(Reason.BOUNCE, "Delivery report"),
    MailClass.LIST: _Kind(Reason.MAILING_LIST, "Mailing list"),
    MailClass.NOTIFICATION: _Kind(Reason.NOTIFICATION, "Notification"),
    MailClass.OWN_SITE: _Kind(Reason.SITE_NOTIFICATION, "Notice of the site"),
    MailClass.OWN_OUTPUT: _Kind(Reason.LOOP, "Own output"),
}


@dataclass(frozen=True, slots=True)
class CustomerRule:
    """Which mails are somebody else's words, and where that person stands in them.

    All that is set has to hold: `senders` are addresses of From, `list_id` a part of List-Id, `header` a header that has
    to be there. The person stands in the header `use_header` or behind the label `use_line` at the beginning of a line;
    the name, where it does not stand beside the address, behind the label `name_line`.
    """

    senders: OwnAddresses = field(default_factory=lambda: OwnAddresses(()))
    list_id: str = ""
    header: str = ""
    use_header: str = ""
    use_line: str = ""
    name_line: str = ""

    def matches(self, message: Message) -> bool:
        """Whether the rule is about this mail."""
        first = dict(reversed(message.headers))
        if self.senders and (message.author is None or not self.senders.matches(message.author.value)):
            return False
        if self.list_id and self.list_id.casefold() not in first.get("list-id", "").casefold():
            return False
        return not self.header or self.header.lower() in first

    def customer(self, message: Message, whole_text: str) -> Participant | None:
        """The person, if the mail names one."""
        found = self._addressee(message, whole_text)
        if found is None or found.name or not self.name_line:
            return found
        return replace(found, name=_name_behind(whole_text, self.name_line))

    def _addressee(self, message: Message, whole_text: str) -> Participant | None:
        if self.use_header:
            values = [value for name, value in message.headers if name == self.use_header.lower()]
            found = [one for value in values for one in parse_addresses(value.encode("utf-8", "replace"))[0]]
            return found[0] if found else None
        return _address_behind(whole_text, self.use_line)


@dataclass(frozen=True, slots=True)
class SenderRules:
    """One source's rules about senders, as `sync.decide.Senders` has them."""

    machine: MachineRules
    treatments: Mapping[MailClass, Treatment]
    customers: tuple[CustomerRule, ...] = ()
    trusted: tuple[str, ...] = ()
    unverified: Unverified = Unverified.NOTE

    def is_relay(self, address: str) -> bool:
        """Whether a rule about participants names this address: only then may mail from an own address be a customer's."""
        return any(rule.senders and rule.senders.matches(address) for rule in self.customers)

    def own_output(self, message: Message) -> Skip | None:
        """Our marker, wherever it stands, unless the policy is to show such mail."""
        if not is_loop(message) or self.treatments[MailClass.OWN_OUTPUT] is not Treatment.SKIP:
            return None
        return Skip(Reason.LOOP, _detail(classify_message(message, self.machine)))

    def judge(self, message: Message, whole_text: str) -> Judgement:
        """Whose words an incoming mail is, and what becomes of it."""
        rule = next((rule for rule in self.customers if rule.matches(message)), None)
        customer = message.author if rule is None else self._customer(rule, message, whole_text)
        hold, notes = self._verified(message)
        verdict = classify_message(message, self.machine)
        if verdict.is_person or (rule is not None and verdict.mail_class is not MailClass.OWN_OUTPUT):
            return Judgement(customer, hold=hold, notes=notes)
        kind = _KINDS[verdict.mail_class]
        treatment = self.treatments[verdict.mail_class]
        if treatment is Treatment.SKIP and verdict.rule not in WEAK_RULES:
            return Judgement(customer, skip=Skip(kind.reason, _detail(verdict)))
        activity = "" if treatment is Treatment.DELIVER else kind.words
        return Judgement(customer, activity=activity, hold=hold, notes=notes)

    def _customer(self, rule: CustomerRule, message: Message, whole_text: str) -> Participant | None:
        """Whom the rule finds; else the author, unless that is an own address."""
        found = rule.customer(message, whole_text)
        if found is not None and not self.machine.own.matches(found.value):
            return found
        author = message.author
        return None if author is None or self.machine.own.matches(author.value) else author

    def _verified(self, message: Message) -> tuple[Hold | None, tuple[str, ...]]:
        """What DMARC says of the address in From, where a trusted server looked."""
        if not self.trusted or self.unverified is Unverified.IGNORE or message.author is None:
            return None, ()
        found = dmarc_of(message, self.trusted)
        if found.result is not Result.FAIL:
            return None, ()
        domain = message.author.value.rpartition("@")[2]
        note = f"Sender not verified: this may not come from {domain}."
        if self.unverified is Unverified.NOTE:
            return None, (note,)
        sentence = f"{found.server} found that it may not come from the domain in From ({found.evidence})"
        return Hold(Reason.UNVERIFIED_SENDER, UNVERIFIED_CODE, sentence[:MAX_DETAIL_CHARS]), (note,)


def sender_rules(settings: SourceSettings, own: OwnAddresses) -> SenderRules:
    """The rules that a source's settings say."""
    return SenderRules(
        machine=MachineRules(tuple(map(str.lower, settings.site_domains)), OwnAddresses(settings.people), own),
        treatments={
            MailClass.AUTO_REPLY: Treatment(settings.auto_replies),
            MailClass.BOUNCE: Treatment(settings.bounces),
            MailClass.LIST: Treatment(settings.mailing_lists),
            MailClass.NOTIFICATION: Treatment(settings.notifications),
            MailClass.OWN_SITE: Treatment(settings.site_notifications),
            MailClass.OWN_OUTPUT: Treatment(settings.own_output),
        },
        customers=tuple(map(_customer_rule, settings.participant_rules)),
        trusted=settings.trusted_authserv_id,
        unverified=Unverified(settings.unverified_senders),
    )


def _customer_rule(rule: ParticipantRule) -> CustomerRule:
    return CustomerRule(
        OwnAddresses(rule.sender), rule.list_id, rule.header, rule.use_header, rule.use_line, rule.name_line
    )


def _detail(verdict: Verdict) -> str:
    """The rule and what it saw."""
    return f"{verdict.rule}: {verdict.evidence}"[:MAX_DETAIL_CHARS]


def _address_behind(text: str, label: str) -> Participant | None:
    """The first address behind a label."""
    for value in _behind(text, label):
        match = _ADDRESS.search(value)
        address = "" if match is None else normalise_address(match.group().strip("."))
        if address:
            return Participant(ParticipantKind.EMAIL, address)
    return None


def _name_behind(text: str, label: str) -> str:
    """What stands behind a label, if it can be somebody's name."""
    for value in _behind(text, label):
        name = clean_line(value.partition(" | ")[0]).strip("'\"")
        if 0 < len(name) <= MAX_FORM_NAME_CHARS and not any(sign in name for sign in "@:<>"):
            return name
    return ""


def _behind(text: str, label: str) -> Iterator[str]:
    """What stands behind a label at the beginning of a line, or on the next line that is not empty."""
    lines: Sequence[str] = text.split("\n", MAX_LINES_READ)[:MAX_LINES_READ]
    wanted = label.strip().rstrip(":：").casefold()
    for number, line in enumerate(lines):
        start = line.lstrip(_MARKS)
        if start[: len(wanted)].casefold() != wanted:
            continue
        between = _BETWEEN.match(start, len(wanted))
        if between is None:
            continue
        rest = start[between.end() :].strip(_MARKS)
        yield rest or next((later for later in lines[number + 1 :] if later.strip()), "")
