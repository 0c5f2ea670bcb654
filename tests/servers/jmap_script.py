"""A small JMAP server that answers as a test wants: it models one account with mailboxes and mails.

with ScriptedJmap() as server:
    server.add(b"Subject: hi\\r\\n\\r\\nhello")
    server.status = (429, {"Retry-After": "7"})                # every call is refused so
    server.on("Email/changes", {"type": "cannotCalculateChanges"})
    server.before["Email/query"] = lambda: server.remove("m1")  # something happens just before an answer
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import MIMEPart
from email.parser import BytesHeaderParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from types import TracebackType
from typing import Self, TypeAlias

from sync.message import Json

TEXT_MOST = 2000
"""Characters of a text that it gives at most."""
ARRIVAL = datetime(2026, 3, 12, 14, 3, tzinfo=UTC)

Reply: TypeAlias = tuple[int, Sequence[bytes], Mapping[str, str]]
"""Status, body, headers."""


@dataclass
class Mail:
    """A mail of the account."""

    id: str
    raw: bytes
    mailboxes: set[str]
    received_at: datetime
    size: int


class ScriptedJmap:
    """The server; loopback, free port. `page`: how many ids it gives at most in one answer; `most`: how many mails, and
    `says_most` what its session claims of that. `token`: what is taken, if not everything is."""

    def __init__(self, *, page: int = 1000) -> None:
        self.page = page
        self.most = self.says_most = 50
        self.token: Callable[[str], bool] = lambda _token: True
        self.mails: dict[str, Mail] = {}
        self.log: list[tuple[int, str]] = []
        self.mailboxes: dict[str, tuple[str, str | None]] = {"A": ("Inbox", "inbox"), "B": ("Sent", "sent")}
        self.requests: list[tuple[str, str, str]] = []
        self.calls: list[str] = []
        self.asked: list[list[str]] = []
        """The ids of each Email/get."""
        self.status: tuple[int, dict[str, str]] | None = None
        self.session_changes: dict[str, Json] = {}
        self.before: dict[str, Callable[[], object]] = {}
        self.says_more = False
        self.has_events = False
        self._listeners: list[Queue[bytes | None]] = []
        self.lost_blobs: set[str] = set()
        self.big_blobs: dict[str, int] = {}
        """Blobs of so many million zeros."""
        self._refusals: dict[str, dict[str, Json]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.host = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.tell(None)
        self._server.shutdown()
        self._server.server_close()

    def add(self, raw: bytes, *, mailbox: str = "A", minutes: int | None = None, size: int | None = None) -> Mail:
        """A new mail; it arrives a minute after the one before unless the test says otherwise."""
        number = len(self.log) + 1
        at = ARRIVAL + timedelta(minutes=number if minutes is None else minutes)
        mail = Mail(f"m{number}", raw, {mailbox}, at, len(raw) if size is None else size)
        self.mails[mail.id] = mail
        self.log.append((number, mail.id))
        self.announce()
        return mail

    def announce(self, account: str = "acc", state: str | None = None) -> None:
        """Tells whoever listens that an account's mail has changed."""
        changed: Json = {"@type": "StateChange", "changed": {account: {"Email": state or str(self.state)}}}
        self.tell(f"event: state\ndata: {json.dumps(changed)}\n\n".encode())

    def tell(self, event: bytes | None) -> None:
        """Sends this to whoever listens; None ends their streams."""
        for listener in self._listeners:
            listener.put(event)

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    @contextlib.contextmanager
    def listening(self) -> Iterator[Queue[bytes | None]]:
        """One more listener."""
        queue: Queue[bytes | None] = Queue()
        self._listeners.append(queue)
        try:
            yield queue
        finally:
            self._listeners.remove(queue)

    def touch(self, mail_id: str) -> None:
        """Something about a mail changed."""
        self.log.append((len(self.log) + 1, mail_id))
        self.announce()

    def remove(self, mail_id: str) -> None:
        """A mail is gone."""
        if self.mails.pop(mail_id, None) is not None:
            self.touch(mail_id)

    def on(self, method: str, error: dict[str, Json]) -> None:
        """A method answers with this error."""
        self._refusals[method] = error

    def calm(self) -> None:
        """Forgets every rule."""
        self._refusals.clear()
        self.before.clear()
        self.status = None

    @property
    def state(self) -> int:
        """The state of the account's mail."""
        return len(self.log)

    # -- answers

    def session(self) -> dict[str, Json]:
        """The session resource."""
        core: Json = {"maxObjectsInGet": self.says_most}
        made: dict[str, Json] = {
            "apiUrl": "/api",
            "downloadUrl": "/blob/{accountId}/{blobId}/{name}?type={type}",
            "state": "s1",
            "capabilities": {"urn:ietf:params:jmap:core": core, "urn:ietf:params:jmap:mail": {}},
            "accounts": {"acc": {"name": "support@example.com"}},
            "primaryAccounts": {"urn:ietf:params:jmap:mail": "acc"},
        }
        if self.has_events:
            made["eventSourceUrl"] = "/events?types={types}&closeafter={closeafter}&ping={ping}"
        return {**made, **self.session_changes}

    def call(self, method: str, arguments: dict[str, Json]) -> list[Json]:
        """One method's answer."""
        self.calls.append(method)
        before = self.before.pop(method, None)
        if before is not None:
            before()
        if method in self._refusals:
            return ["error", self._refusals[method], "c"]
        ids = arguments.get("ids")
        if isinstance(ids, list) and len(ids) > self.most:
            return ["error", {"type": "requestTooLarge"}, "c"]
        answers = {
            "Mailbox/get": self._mailbox_get,
            "Email/get": self._email_get,
            "Email/query": self._email_query,
            "Email/changes": self._email_changes,
        }
        return [method, answers[method](arguments), "c"]

    def _mailbox_get(self, _arguments: dict[str, Json]) -> Json:
        return {"list": [{"id": key, "name": name, "role": role} for key, (name, role) in self.mailboxes.items()]}

    def _email_query(self, arguments: dict[str, Json]) -> Json:
        where, position = arguments["filter"], arguments["position"]
        assert isinstance(where, dict)
        assert isinstance(position, int)
        after = where.get("after")
        found = sorted(
            (mail.received_at, mail.id)
            for mail in self.mails.values()
            if where["inMailbox"] in mail.mailboxes
            and (not isinstance(after, str) or mail.received_at >= datetime.fromisoformat(after))
        )
        ids: list[Json] = [mail_id for _at, mail_id in found[position : position + self.page]]
        return {"ids": ids, "queryState": str(self.state)}

    def _email_changes(self, arguments: dict[str, Json]) -> Json:
        since = int(str(arguments["sinceState"]))
        most = min(int(str(arguments["maxChanges"])), self.page)
        some = [entry for entry in self.log if entry[0] > since][:most]
        new_state = some[-1][0] if some else self.state
        ids = {mail_id for _number, mail_id in some}
        return {
            "oldState": str(since),
            "newState": str(new_state),
            "hasMoreChanges": new_state < self.state or self.says_more,
            "created": [mail_id for mail_id in sorted(ids) if mail_id in self.mails],
            "updated": [],
            "destroyed": [mail_id for mail_id in sorted(ids) if mail_id not in self.mails],
        }

    def _email_get(self, arguments: dict[str, Json]) -> Json:
        ids = arguments["ids"]
        assert isinstance(ids, list)
        self.asked.append([str(one) for one in ids])
        properties = arguments.get("properties") or []
        listed: list[Json] = [self._email(self.mails[str(one)], properties) for one in ids if str(one) in self.mails]
        missing: list[Json] = [one for one in ids if str(one) not in self.mails]
        return {"state": str(self.state), "list": listed, "notFound": missing}

    def _email(self, mail: Mail, properties: Json) -> Json:
        header = BytesHeaderParser().parsebytes(mail.raw)
        lines: list[Json] = [{"name": name, "value": f" {value}"} for name, value in header.raw_items()]
        fields: dict[str, Json] = {
            f"header:{name}:all": [f" {value}" for value in header.get_all(name, [])]
            for name in ("Message-ID", "Date", "From", "Subject")
        }
        return {
            "id": mail.id,
            "blobId": f"blob-{mail.id}",
            "size": mail.size,
            "receivedAt": mail.received_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "mailboxIds": dict.fromkeys(sorted(mail.mailboxes), True),
            "headers": lines,
            **fields,
            **(_parts(mail) if isinstance(properties, list) and "bodyStructure" in properties else {}),
        }

    def blob(self, blob_id: str) -> bytes | None:
        """A mail's bytes (`blob-m1`), or those of a part, decoded (`blob-m1-2.1`)."""
        mail_id, _, path = blob_id.removeprefix("blob-").partition("-")
        mail = self.mails.get(mail_id)
        if mail is None or not path:
            return None if mail is None else mail.raw
        found = dict(_leaves(message_from_bytes(mail.raw, policy=policy.SMTP), ""))
        return _content(found[path]) if path in found else None

    # -- the wire

    def refusal(self, token: str) -> Reply | None:
        """What every request gets just now, or one with this token."""
        if self.status is not None:
            return self.status[0], [], self.status[1]
        return None if self.token(token) else (401, [], {})

    def get(self, path: str) -> Reply:
        """The session, or a blob."""
        if path.startswith("/events"):
            return 204, [], {}
        if path in {"/.well-known/jmap", "/session"}:
            return 200, [json.dumps(self.session()).encode()], {}
        blob_id = path.split("/")[3]
        if blob_id in self.big_blobs:
            return 200, [bytes(1_000_000)] * self.big_blobs[blob_id], {}
        body = None if blob_id in self.lost_blobs else self.blob(blob_id)
        return (404, [], {}) if body is None else (200, [body], {})

    def post(self, calls: Sequence[tuple[str, dict[str, Json], str]]) -> Reply:
        """Method calls."""
        answers = [self.call(method, arguments) for method, arguments, _call in calls]
        return 200, [json.dumps({"methodResponses": answers, "sessionState": "s1"}).encode()], {}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        script = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._note()
                refusal = script.refusal(self._token())
                if refusal is None and self.path.startswith("/events") and script.has_events:
                    self._send_events()
                else:
                    self._send(*(refusal or script.get(self.path)))

            def _send_events(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                with contextlib.suppress(OSError), script.listening() as queue:
                    while (event := queue.get()) is not None:
                        self.wfile.write(event)

            def do_POST(self) -> None:
                self._note()
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, pieces, headers = script.refusal(self._token()) or script.post(body["methodCalls"])
                self._send(status, pieces, headers)

            def _token(self) -> str:
                return self.headers.get("Authorization", "").removeprefix("Bearer ")

            def _note(self) -> None:
                script.requests.append((self.command, self.path, self.headers.get("Authorization", "")))

            def _send(self, status: int, pieces: Sequence[bytes], headers: Mapping[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(sum(map(len, pieces))))
                self.end_headers()
                for piece in pieces:
                    self.wfile.write(piece)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the standard library's name
                del format, args

        return Handler


def _content(part: MIMEPart) -> bytes:
    if part.get_content_maintype() == "message":
        nested = part.get_payload(0)
        assert isinstance(nested, MIMEPart)
        return nested.as_bytes()
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


def _leaves(part: MIMEPart, path: str) -> list[tuple[str, MIMEPart]]:
    if not part.is_multipart() or part.get_content_maintype() == "message":
        return [(path or "1", part)]
    children = enumerate(part.iter_parts(), 1)
    return [leaf for number, child in children for leaf in _leaves(child, f"{path}.{number}" if path else str(number))]


def _parts(mail: Mail) -> dict[str, Json]:
    """The body properties of RFC 8621 §4.1.4, of mails whose text comes first."""
    made = message_from_bytes(mail.raw, policy=policy.SMTP)

    def structure(part: MIMEPart, path: str) -> Json:
        if part.is_multipart() and part.get_content_maintype() != "message":
            children = enumerate(part.iter_parts(), 1)
            below = [structure(child, f"{path}.{number}" if path else str(number)) for number, child in children]
            return {"partId": None, "blobId": None, "type": part.get_content_type(), "subParts": below}
        name = path or "1"
        return {
            "partId": name,
            "blobId": f"blob-{mail.id}-{name}",
            "size": len(_content(part)),
            "name": part.get_filename(),
            "type": part.get_content_type(),
            "charset": part.get_content_charset(),
            "disposition": part.get_content_disposition(),
            "cid": part.get("Content-ID"),
            "subParts": None,
        }

    leaves = _leaves(made, "")
    texts = [(path, part) for path, part in leaves if part.get_content_maintype() == "text" and not part.get_filename()]
    plain = [one for one in texts if one[1].get_content_type() == "text/plain"] or texts
    values: dict[str, Json] = {}
    for path, part in plain:
        text = _content(part).decode("utf-8", "replace")
        values[path] = {"value": text[:TEXT_MOST], "isTruncated": len(text) > TEXT_MOST}
    return {
        "bodyStructure": structure(made, ""),
        "textBody": [structure(part, path) for path, part in plain],
        "htmlBody": [structure(part, path) for path, part in texts if part.get_content_type() == "text/html"],
        "bodyValues": values,
    }
