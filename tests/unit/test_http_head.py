"""The head of a request: what is kept of it for the next one."""

from __future__ import annotations

import h11
import pytest

from sync.http.connection import _head, _with_credentials


def head(token: bytes) -> bytes:
    headers = ((b"Host", b"inbox.example"), (b"Authorization", token), (b"Accept", b"application/json"))
    return _with_credentials("POST", b"/inbox/v2/messages", headers)


def test_what_is_kept_of_a_head_has_no_credentials() -> None:
    _head.cache_clear()
    made = [head(token) for token in (b"first-secret", b"second-secret")]
    assert (_head.cache_info().misses, _head.cache_info().hits) == (1, 1)
    for text, token in zip(made, (b"first-secret", b"second-secret"), strict=True):
        assert text.startswith(b"POST /inbox/v2/messages HTTP/1.1\r\n")
        assert text.endswith(b"\r\n\r\n")
        assert text.count(b"\r\n\r\n") == 1
        assert b"Authorization: " + token + b"\r\n" in text


def test_what_is_kept_of_a_head_serves_every_target() -> None:
    _head.cache_clear()
    headers = ((b"Host", b"inbox.example"), (b"Accept", b"*/*"))
    for target in (b"/files/1?filename=a.png", b"/files/2"):
        made = _with_credentials("PUT", target, headers)
        request = h11.Request(method="PUT", target=target, headers=list(headers))
        assert made == h11.Connection(h11.CLIENT).send(request)
    assert (_head.cache_info().misses, _head.cache_info().hits) == (1, 1)


@pytest.mark.parametrize("target", [b"", b"/a b", b"/a\r\nX-More: 1", b"/\0", "/ü".encode()])
def test_a_target_that_is_none_is_refused(target: bytes) -> None:
    with pytest.raises(h11.LocalProtocolError):
        _with_credentials("GET", target, ((b"Host", b"inbox.example"),))


@pytest.mark.parametrize("token", [b"a\r\nX-More: 1", b"a\nb", b"a\0b", b" a", b"a "])
def test_credentials_that_are_no_header_are_refused_and_not_quoted(token: bytes) -> None:
    with pytest.raises(h11.LocalProtocolError) as refused:
        head(token)
    assert token.decode() not in str(refused.value)
