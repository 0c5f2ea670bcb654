"""Every error the program raises on purpose, sorted by who acts next (DESIGN.md §2).

    InboxSyncError
    ├── ConfigError       the operator edits the file
    ├── AuthError         the operator signs in again; the source or inbox is parked and probed at long intervals
    ├── TemporaryError    nobody: it is tried again (scope: message, source or inbox)
    ├── MessageError      this one message cannot be handled; the others go on
    ├── OutcomeUnknown    a send whose answer is missing; it is read back, never guessed
    ├── LedgerError       the database is unreachable, locked by another daemon, or newer than this program
    └── Interrupted       the operator (or a signal) stopped it

Anything else that is raised is a bug: it is logged with its pass, and the daemon goes on.
Each error has a stable `code` (`imap.uidvalidity_changed`), a sentence for the operator (`str(error)`), the next
step, and the ids it is about. A connector raises the first four and nothing else.
"""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """How much a temporary failure holds up."""

    MESSAGE = "message"
    SOURCE = "source"
    INBOX = "inbox"


class InboxSyncError(Exception):
    """Base of the tree. `sentence` says what is wrong, `next_step` what to do about it; `ids` name what it is about
    (`source="support"`, `message=17`) and never hold secrets, addresses or bodies."""

    code = "internal.error"
    exit_code = 1

    def __init__(self, sentence: str, *, code: str | None = None, next_step: str = "", **ids: str | int) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.next_step = next_step
        self.ids = ids
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return self.sentence


class ConfigError(InboxSyncError):
    """The configuration (or what it points at) is wrong: the operator edits it. `problems` lists all of them."""

    code = "config.invalid"
    exit_code = 78

    def __init__(
        self,
        sentence: str,
        *,
        code: str | None = None,
        next_step: str = "",
        problems: tuple[str, ...] = (),
        **ids: str | int,
    ) -> None:
        super().__init__(sentence, code=code, next_step=next_step, **ids)
        self.problems = problems


class AuthError(InboxSyncError):
    """Credentials were refused: the operator signs in again. Nothing is retried quickly."""

    code = "auth.refused"


class TemporaryError(InboxSyncError):
    """It will work later. `retry_after_seconds` is what the service asked for, None where it said nothing."""

    code = "temporary.failure"
    exit_code = 75

    def __init__(
        self,
        sentence: str,
        *,
        code: str | None = None,
        next_step: str = "",
        retry_after_seconds: float | None = None,
        scope: Scope = Scope.SOURCE,
        **ids: str | int,
    ) -> None:
        super().__init__(sentence, code=code, next_step=next_step, **ids)
        self.retry_after_seconds = retry_after_seconds
        self.scope = scope


class MessageError(InboxSyncError):
    """This message cannot be handled, whatever is tried again; the others are not concerned."""

    code = "message.refused"


class OutcomeUnknown(InboxSyncError):
    """A send was (perhaps) written and no clear answer came back. Only reading back may decide what happened."""

    code = "inbox.outcome_unknown"
    exit_code = 75


class LedgerError(InboxSyncError):
    """The database cannot be used: unreachable, locked by another daemon, newer than this program."""

    code = "ledger.unavailable"
    exit_code = 69


class Interrupted(InboxSyncError):
    """Stopped on request before it was finished."""

    code = "interrupted"
    exit_code = 75
