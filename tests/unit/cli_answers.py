"""Answers as a daemon would give them, for the tests of the command line."""

from __future__ import annotations

from sync.answers import (
    CheckAnswer,
    DeliveryStory,
    MessageListAnswer,
    MessageShowAnswer,
    SourceAnswer,
    StatusAnswer,
    SyncAnswer,
    SyncSourceAnswer,
    no_delivery_counts,
    no_message_counts,
    summarise_check,
)

NOW = "2026-11-23T07:00:00+00:00"
REFUSED = {
    "code": "imap.login_refused",
    "sentence": "the server imap.example.com refused the password of the account",
    "next_step": "set the right one where the reference points to, then inbox-sync reload",
}


def source(name: str, **changes: object) -> SourceAnswer:
    answer: SourceAnswer = {
        "name": name,
        "connector": "imap",
        "inbox": "main",
        "state": "ok",
        "paused": False,
        "fault": None,
        "horizon": "2026-11-01T00:00:00+00:00",
        "last_pass_at": "2026-11-23T06:59:48+00:00",
        "last_good_pass_at": "2026-11-23T06:59:48+00:00",
        "next_pass_at": "2026-11-23T07:00:48+00:00",
        "messages": {**no_message_counts(), "skipped": 12},
        "skipped": {"before_horizon": 9, "duplicate": 3},
        "dead": {},
        "before_horizon": 2045,
        "deliveries": {**no_delivery_counts(), "sent": 12034, "pending": 3},
        "swept_at": "2026-11-23T03:00:00+00:00",
        "sweep": {"found": 210, "new": 1, "deliveries": 1},
    }
    answer.update(changes)  # type: ignore[typeddict-item]
    return answer


def status() -> StatusAnswer:
    return {
        "ok": False,
        "version": "0.1.0",
        "at": NOW,
        "daemon": {"pid": 4711, "host": "mail", "started_at": "2026-11-20T07:00:00+00:00", "state": "running"},
        "ledger": {"url": "sqlite:////var/lib/inbox-sync/ledger.db", "revision": "0001", "head": "0001"},
        "inboxes": [
            {
                "name": "main",
                "site_id": "5d0ac7a5-1f3c-4c36-9d2e-111111111111",
                "state": "ok",
                "fault": None,
                "warning": None,
                "probe_at": None,
                "deliveries": {**no_delivery_counts(), "pending": 3, "unknown": 1, "dead": 2, "sent": 12034},
                "oldest_pending_at": "2026-11-23T06:58:00+00:00",
            }
        ],
        "sources": [
            source("support"),
            source("archive", state="parked", fault=REFUSED),
            source("night", paused=True, last_good_pass_at=None),
        ],
        "backfills": [],
    }


def sync_line(name: str, **changes: object) -> SyncSourceAnswer:
    answer: SyncSourceAnswer = {
        "name": name,
        "inbox": "main",
        "fault": None,
        "found": 48,
        "repeated": 3,
        "new": 45,
        "before_horizon": 7,
        "skipped": {"duplicate": 4, "own_address": 1},
        "dead_messages": {},
        "sent": 40,
        "late": 2,
        "pending": 0,
        "unknown": 0,
        "held": 0,
        "dead": 0,
        "seconds": 12.4,
    }
    answer.update(changes)  # type: ignore[typeddict-item]
    return answer


def sync(**changes: object) -> SyncAnswer:
    answer: SyncAnswer = {
        "ok": True,
        "dry_run": False,
        "sources": [sync_line("support"), sync_line("archive", found=0, new=0, skipped={}, repeated=0, sent=0)],
        "inboxes": [],
        "previews": [],
        "previews_left_out": 0,
    }
    answer.update(changes)  # type: ignore[typeddict-item]
    return answer


def check() -> CheckAnswer:
    return summarise_check(
        [
            {
                "about": "configuration",
                "name": "",
                "severity": "ok",
                "sentence": "/etc/inbox-sync/config.toml can be read",
                "next_step": "",
                "code": "",
            },
            {
                "about": "inbox",
                "name": "main",
                "severity": "ok",
                "sentence": "the API key may manage contacts and messages of the site",
                "next_step": "",
                "code": "",
            },
            {
                "about": "source",
                "name": "support",
                "severity": "error",
                "sentence": "there is no folder Sendt in the mailbox support@example.com, although the configuration"
                " names it among the folders that are to be read",
                "next_step": 'write folders = ["INBOX", "\\\\Sent"], which works on every server',
                "code": "imap.folder_missing",
            },
        ]
    )


def message_list() -> MessageListAnswer:
    return {
        "messages": [
            {
                "id": 17,
                "source": "support",
                "inbox": "main",
                "stream": "INBOX",
                "external_id": "42",
                "state": "loaded",
                "reason": "",
                "detail": "",
                "arrived_at": "2026-11-23T06:00:00+00:00",
                "written_at": "2026-11-23T05:59:00+00:00",
                "subject": "Offer [bold]50 %[/bold] off\x1b[31m",
                "late": False,
                "deliveries": [
                    {
                        "id": 21,
                        "participant": "email:anna@example.org",
                        "state": "dead",
                        "reason": "refused",
                        "fault": {
                            "code": "inbox.too_long",
                            "sentence": "the Inbox refused the text: longer than it takes",
                            "next_step": "inbox-sync message show 17",
                        },
                        "late": False,
                        "retry_at": None,
                        "sent_at": None,
                        "inbox_message_id": None,
                    },
                    {
                        "id": 22,
                        "participant": "external:zendesk:4711",
                        "state": "sent",
                        "reason": "",
                        "fault": None,
                        "late": True,
                        "retry_at": None,
                        "sent_at": NOW,
                        "inbox_message_id": "m-1",
                    },
                ],
            }
        ],
        "next_after_id": 17,
    }


def message_show() -> MessageShowAnswer:
    delivery: DeliveryStory = {
        "id": 21,
        "participant": "email:anna@example.org",
        "participant_name": "Anna",
        "direction": "PARTICIPANT_TO_BUSINESS",
        "state": "sent",
        "reason": "",
        "fault": None,
        "late": False,
        "attempts": 2,
        "failures": 0,
        "resends": 1,
        "looks": 4,
        "read_back": True,
        "doubled_with": None,
        "contact_id": "c-1",
        "conversation_id": "v-1",
        "inbox_message_id": "m-1",
        "sequence": "5",
        "request_id": "r-1",
        "seen_at": NOW,
        "release_at": NOW,
        "retry_at": None,
        "intent_at": NOW,
        "unknown_at": NOW,
        "sent_at": NOW,
    }
    return {
        "id": 17,
        "source": "support",
        "inbox": "main",
        "stream": "INBOX",
        "epoch": "0:7",
        "external_id": "42",
        "occurrence": 1,
        "duplicate_of": None,
        "state": "loaded",
        "reason": "",
        "detail": "",
        "explanation": "",
        "subject": None,
        "arrived_at": NOW,
        "written_at": NOW,
        "seen_at": NOW,
        "size_bytes": 1200,
        "fetch_attempts": 1,
        "backfill": False,
        "late": False,
        "raw_kept": False,
        "deliveries": [delivery],
        "events": [
            {"at": NOW, "kind": "delivery.unknown", "code": "inbox.timeout", "delivery_id": 21, "detail": {"look": 1}}
        ],
    }
