"""An audit as the answer an operator gets. Words and shapes, no decisions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from sync import audit as audits
from sync.answers import AuditAnswer, AuditLine
from sync.show import REASONS

_AT_SOURCE: dict[str, str] = {
    audits.MISSING: "should be in the ledger and is not; the next sweep brings it in",
    audits.NOT_POLLED: "came too recently; the next passes bring it in",
    audits.NO_ROW: "the source leaves it alone; only a backfill brings it",
    audits.DUPLICATE: "the same message is known from another place",
    audits.WOULD_SKIP: "has no row; the next sweep records it as skipped",
}
_IN_LEDGER: dict[str, str] = {
    audits.LISTED: "",
    audits.UNLISTED: "moved or deleted at the source",
    audits.RENUMBERED: "recorded under a numbering that the service has given up",
    audits.NOT_READ: "its folder is not read any more",
}


def audit_answer(name: str, since: datetime, report: audits.Report) -> AuditAnswer:
    """An audit's answer."""
    return {
        "ok": not report.missing,
        "exit_code": int(bool(report.missing)),
        "source": name,
        "since": since.isoformat(),
        "streams": report.streams,
        "left_out": report.left_out,
        "lines": [*_audit_lines("source", report.at_source), *_audit_lines("ledger", report.in_ledger)],
        "at_source": sum(report.at_source.values()),
        "in_ledger": sum(report.in_ledger.values()),
        "missing": report.missing,
        "examples": [
            {
                "what": one.line.what,
                "stream": one.stream,
                "external_id": one.external_id,
                "arrived_at": one.arrived_at.isoformat(),
                "message_id": one.message_id,
            }
            for one in report.examples
        ],
    }


def _audit_lines(side: Literal["source", "ledger"], counts: Mapping[audits.Line, int]) -> list[AuditLine]:
    sentences = _AT_SOURCE if side == "source" else _IN_LEDGER
    return [
        {
            "side": side,
            "what": line.what,
            "reason": line.reason,
            "count": count,
            "missing": line.what == audits.MISSING,
            "sentence": sentences.get(line.what) or REASONS.get(line.reason, ""),
        }
        for line, count in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    ]
