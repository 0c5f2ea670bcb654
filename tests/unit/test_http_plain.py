"""The short way to read an answer: what it takes, h11 reads in the same way; what is not usual it leaves alone."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.http.plain import Plain, read_plain

USUAL = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length: 11\r\nX-Wix-Request-Id:  1.2 \r\n\r\n"
    b'{"ok":true}'
)

LEFT_ALONE = {
    "nothing": b"",
    "half a head": USUAL[:30],
    "half a body": USUAL[:-1],
    "bytes behind it": USUAL + b"H",
    "two answers": USUAL + USUAL,
    "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n" + USUAL,
    "HTTP/1.0": USUAL.replace(b"1.1", b"1.0", 1),
    "chunked": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and a length": USUAL.replace(b"X-Wix-Request-Id:  1.2", b"transfer-encoding: chunked"),
    "two lengths": USUAL.replace(b"X-Wix-Request-Id:  1.2 ", b"content-length: 12"),
    "the same length twice": USUAL.replace(b"X-Wix-Request-Id:  1.2 ", b"content-length: 11"),
    "a list of lengths": USUAL.replace(b"11", b"11, 11"),
    "a signed length": USUAL.replace(b"11", b"+11"),
    "no length": b"HTTP/1.1 200 OK\r\n\r\n",
    "a folded line": USUAL.replace(b"  1.2 ", b"\r\n 1.2"),
    "a blank before the colon": USUAL.replace(b"Id:", b"Id :"),
    "a bare line feed": USUAL.replace(b"  1.2 ", b"1\n.2"),
    "a NUL": USUAL.replace(b"  1.2 ", b"1\x00.2"),
    "a connection that closes": USUAL.replace(b"X-Wix-Request-Id:  1.2 ", b"Connection: close"),
    "no content": b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\ncontent-length: 0\r\n\r\n",
    "something else": b"220 mail.example.com ESMTP\r\n\r\n",
}


def by_h11(received: bytes) -> tuple[Plain, bool]:
    """The answer as h11 reads it, and whether the connection can go on."""
    machine = h11.Connection(h11.CLIENT)
    machine.send(h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", "0")]))
    machine.send(h11.EndOfMessage())
    machine.receive_data(received)
    head = machine.next_event()
    assert isinstance(head, h11.Response)
    body = b""
    while not isinstance(event := machine.next_event(), h11.EndOfMessage):
        assert isinstance(event, h11.Data)
        body += bytes(event.data)
    reusable = (machine.our_state, machine.their_state) == (h11.DONE, h11.DONE) and not machine.trailing_data[0]
    return Plain(head.status_code, list(head.headers), body), reusable


def test_a_usual_answer_is_read() -> None:
    assert read_plain(USUAL) == by_h11(USUAL)[0]
    answer = read_plain(USUAL)
    assert answer is not None
    assert (answer.status, answer.headers[2], answer.body) == (200, (b"x-wix-request-id", b"1.2"), b'{"ok":true}')


@pytest.mark.parametrize("received", LEFT_ALONE.values(), ids=LEFT_ALONE)
def test_what_is_not_usual_is_left_to_the_machine(received: bytes) -> None:
    assert read_plain(received) is None


PIECES = st.sampled_from(
    [b"HTTP/1.1 ", b"200 ", b"500 ", b"OK", b"\r\n", b"\r\n\r\n", b"\n", b":", b" ", b"\t", b"content-length: 3", b"abc",
     b"content-length: 0", b"Content-Length:3", b"transfer-encoding: chunked", b"Connection: Keep-Alive",
     b"connection: close", b"x: y", b"x:", b"\x80", b"\x00", b"1.0", b"4"]
)  # fmt: skip


@given(st.lists(PIECES, max_size=12))
def test_what_is_read_the_short_way_is_read_alike_by_h11(pieces: list[bytes]) -> None:
    received = b"HTTP/1.1 200 OK\r\n" + b"".join(pieces)
    plain = read_plain(received)
    if plain is not None:
        assert by_h11(received) == (plain, True)
