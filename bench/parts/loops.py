"""Two hand-written loops from a mailbox to the Inbox, as short as they can be: what the pipeline is measured against.

    python -m bench.parts.loops understanding --port 143 --url http://127.0.0.1:8025
    python -m bench.parts.loops durable …        --database loop.db

`understanding` makes the same API calls as the program, uploads of files among them, with the program's own understanding
of mail (`sync.mail`, `sync.render`), but keeps no ledger: a crash loses and doubles, order within a conversation is left
to chance, an answer that does not come ends it. `durable` understands a mail as the standard library does (compat32;
texts, headers and files taken out), commits intents and results in groups to SQLite with synchronous=FULL, and knows no
contacts: it sends. Both read batches of 200 with imaplib and keep 32 requests in flight over hand-written HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import email
import imaplib
import json
import os
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime

from bench.parts.stub import CONTACTS, CONVERSATIONS, MESSAGES, UPLOAD_URL, guid
from sync.attachments import HEAD_BYTES, AttachmentRules, choose, pixels_of, shows_as_image
from sync.mail import open_file, understand
from sync.message import Attachment, Direction, Json, Message, Participant
from sync.render import RenderContext, render

BATCH = 200
LANES = 32
KINDS = ("understanding", "durable")


def fetch(port: int, user: str, password: str) -> Iterator[list[tuple[int, bytes]]]:
    """Every mail of the INBOX as (UID, octets), a batch at a time."""
    client = imaplib.IMAP4("127.0.0.1", port)
    client.login(user, password)
    client.select("INBOX", readonly=True)
    uids = client.uid("SEARCH", "ALL")[1][0].split()
    for start in range(0, len(uids), BATCH):
        some = b",".join(uids[start : start + BATCH]).decode()
        answer = client.uid("FETCH", some, "(UID BODY.PEEK[])")[1]
        heads = ((part[0].split(b"UID ", 1)[1], part[1]) for part in answer if isinstance(part, tuple))
        yield [(int(head.split(b" ", 1)[0]), raw) for head, raw in heads]
    client.logout()


class Http:
    """Requests over `LANES` kept connections."""

    def __init__(self, url: str) -> None:
        self._host, _, port = url.removeprefix("http://").partition(":")
        self._port = int(port)
        self._free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def open(self) -> None:
        for _ in range(LANES):
            self._free.put_nowait(await asyncio.open_connection(self._host, self._port))

    async def post(self, path: str, body: Json) -> dict[str, Json]:
        octets = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        return await self.request(b"POST", path, b"application/json", octets)

    async def request(self, method: bytes, path: str, content_type: bytes, octets: bytes) -> dict[str, Json]:
        reader, writer = link = await self._free.get()
        writer.write(
            b"%b %b HTTP/1.1\r\nhost: %b\r\nauthorization: key\r\nwix-site-id: site\r\ncontent-type: %b\r\n"
            b"content-length: %d\r\n\r\n%b"
            % (method, path.encode(), self._host.encode(), content_type, len(octets), octets)
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(head.decode())
        answer = await reader.readexactly(int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))
        self._free.put_nowait(link)
        answered: dict[str, Json] = json.loads(answer)
        return answered


async def in_lanes(batches: Iterator[list[tuple[int, bytes]]], work: Callable[[int, bytes], Awaitable[None]]) -> int:
    """Gives every mail to `work` (a coroutine function), at most `LANES` at a time. Returns how many there were."""
    room = asyncio.Semaphore(LANES)
    count = 0

    async def one(uid: int, raw: bytes) -> None:
        async with room:
            await work(uid, raw)

    for batch in batches:
        count += len(batch)
        async with asyncio.TaskGroup() as group:
            for uid, raw in batch:
                group.create_task(one(uid, raw))
    return count


# ---------------------------------------------------------------------------------------------------- understanding


class Understanding:
    """The program's understanding and calls, without its ledger."""

    def __init__(self, http: Http) -> None:
        self._http = http
        self._conversations: dict[str, asyncio.Task[str]] = {}
        self._subjects: dict[str, str] = {}

    async def work(self, _uid: int, raw: bytes) -> None:
        message = understand(raw)
        if not isinstance(message, Message) or message.author is None:
            raise TypeError("a mail of ours cannot be read")
        author = message.author
        if author.value not in self._conversations:
            self._conversations[author.value] = asyncio.create_task(self._resolve(author))
        conversation = await self._conversations[author.value]
        files, uploads = await self._upload_all(raw, message)
        context = RenderContext(
            direction=Direction.PARTICIPANT_TO_BUSINESS,
            badge_text="mail",
            delivered_at=datetime.now(UTC),
            previous_subject=self._subjects.get(conversation),
            uploads=uploads,
        )
        rendered = render(replace(message, attachments=files), context)
        self._subjects[conversation] = rendered.subject_key
        assert isinstance(rendered.body, dict)
        await self._http.post(MESSAGES, {"conversationId": conversation, **rendered.body})

    async def _upload_all(self, raw: bytes, message: Message) -> tuple[tuple[Attachment, ...], dict[int, str]]:
        """The mail's files with their numbers, and what the Inbox calls them."""
        files = []
        uploads = {}
        for number, one in enumerate(choose(message.attachments, AttachmentRules()), 1):
            data = b"" if one.why_not else open_file(raw, one.ref) or b""
            if not data:
                files.append(one)
                continue
            width, height = pixels_of(data[:HEAD_BYTES]) if shows_as_image(one) else (0, 0)
            files.append(replace(one, spooled=number, width=width, height=height))
            asked = await self._http.post(UPLOAD_URL, {"mimeType": one.mime_type, "fileName": one.filename})
            path = "/" + str(asked["uploadUrl"]).split("/", 3)[3]
            answered = await self._http.request(b"PUT", path, one.mime_type.encode(), data)
            file = answered["file"]
            assert isinstance(file, dict)
            uploads[number] = str(file["id"])
        return tuple(files), uploads

    async def _resolve(self, author: Participant) -> str:
        query: Json = {"filter": {"info.emails.email": {"$in": [author.value]}}, "paging": {"limit": 100}}
        await self._http.post(f"{CONTACTS}/query", {"query": query})
        first, _, last = author.name.partition(" ")
        info: Json = {
            "emails": {"items": [{"tag": "MAIN", "email": author.value, "primary": True}]},
            "name": {"first": first, "last": last},
        }
        made = await self._http.post(CONTACTS, {"info": info, "allowDuplicates": False})
        contact = made["contact"]
        assert isinstance(contact, dict)
        opened = await self._http.post(CONVERSATIONS, {"participantId": {"contactId": contact["id"]}})
        conversation = opened["conversation"]
        assert isinstance(conversation, dict)
        return str(conversation["id"])


# ---------------------------------------------------------------------------------------------------- durable


class Durable:
    """Intents and results in a table, committed in groups by a thread."""

    def __init__(self, http: Http, database: str) -> None:
        self._http = http
        self._waiting: list[tuple[str, tuple[object, ...], asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._database = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=FULL"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.execute(
            "CREATE TABLE sent (uid INTEGER PRIMARY KEY, state TEXT NOT NULL, request TEXT, inbox_id TEXT, at REAL)"
        )

    async def work(self, uid: int, raw: bytes) -> None:
        author, subject, texts, files = take_apart(raw)
        body: Json = {
            "conversationId": guid(author),
            "message": {
                "direction": "PARTICIPANT_TO_BUSINESS",
                "visibility": "BUSINESS",
                "content": {
                    "basic": {"items": [{"text": text} for text in (subject, *texts[:1], ", ".join(files)) if text]},
                    "previewText": (texts or [subject])[0][:256],
                },
            },
        }
        request = json.dumps(body)
        await self._commit("INSERT INTO sent (uid, state, request) VALUES (?, 'sending', ?)", (uid, request))
        answer = await self._http.post(MESSAGES, body)
        message = answer["message"]
        assert isinstance(message, dict)
        await self._commit(
            "UPDATE sent SET state = 'sent', request = NULL, inbox_id = ? WHERE uid = ?", (message["id"], uid)
        )

    async def _commit(self, statement: str, values: tuple[object, ...]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((statement, values, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        await done

    async def _write(self) -> None:
        await asyncio.sleep(0)
        while self._waiting:
            group, self._waiting = self._waiting, []
            await asyncio.get_running_loop().run_in_executor(None, self._write_group, group)
            for _, _, done in group:
                done.set_result(None)

    def _write_group(self, group: list[tuple[str, tuple[object, ...], asyncio.Future[None]]]) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        by_statement: dict[str, list[tuple[object, ...]]] = {}
        for statement, values, _ in group:
            by_statement.setdefault(statement, []).append(values)
        for statement, rows in by_statement.items():
            self._database.executemany(statement, rows)
        self._database.execute("COMMIT")


def take_apart(raw: bytes) -> tuple[str, str, list[str], list[str]]:
    """Author, subject, texts and the names of files, as the standard library gives them; files are decoded, too."""
    mail = email.message_from_bytes(raw)
    texts, files = [], []
    for part in mail.walk():
        if part.is_multipart():
            continue
        octets = part.get_payload(decode=True)
        assert isinstance(octets, bytes)
        name = part.get_filename()
        if name:
            files.append(name)
        elif part.get_content_maintype() == "text":
            texts.append(octets.decode(part.get_content_charset() or "utf-8", "replace"))
    for name in ("message-id", "date", "to", "references", "in-reply-to"):
        _ = mail.get(name)
    return str(mail["from"]), str(mail["subject"]), texts, files


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--user", default="alice")
    parser.add_argument("--url", required=True)
    parser.add_argument("--database", default="")
    options = parser.parse_args()
    http = Http(options.url)
    await http.open()
    loop = Understanding(http) if options.kind == "understanding" else Durable(http, options.database)
    print(await in_lanes(fetch(options.port, options.user, os.environ["MAIL_PASSWORD"]), loop.work))


if __name__ == "__main__":
    asyncio.run(main())
