from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from sync.config.locate import read

FILE = '''\
# a comment
[ledger]
url = "x"

[inbox.main]
own_addresses = [
  "a@example.com",  # one
  "b@example.com",
]
note = """
[not.a.header]
x = 1
"""
api_key = { env = "K" }
server.port = 1
[[list]]
a = 1
[[list]]
a = 2
[list.inner]
b = 3
'''


def test_every_key_has_the_line_it_stands_in() -> None:
    document = read(FILE)
    assert document.faults == []
    assert document.data == tomllib.loads(FILE)
    expected = {
        ("ledger", "url"): 3,
        ("inbox", "main"): 5,
        ("inbox", "main", "own_addresses"): 6,
        ("inbox", "main", "note"): 10,
        ("inbox", "main", "api_key", "env"): 14,
        ("inbox", "main", "server", "port"): 15,
        ("list", 1, "a"): 19,
        ("list", 1, "inner", "b"): 21,
    }
    assert {path: document.lines[path] for path in expected} == expected
    assert ("inbox", "main", "note", "x") not in document.lines


def test_what_has_no_line_has_that_of_what_is_around_it() -> None:
    document = read(FILE)
    assert document.line_of(("inbox", "main", "missing")) == 5
    assert document.line_of(("inbox", "main", "own_addresses", 1)) == 6
    assert document.line_of(("nowhere",)) is None


def test_several_faulty_statements_are_told_at_once_and_the_rest_is_kept() -> None:
    document = read('[a]\nx = yes\ny = 1\nz = "open\n[b]\nq = 1\nq = 2\n[a]\nr = 1\n')
    assert [(fault.line, fault.path) for fault in document.faults] == [
        (2, ("a",)),
        (4, ("a",)),
        (7, ("b", "q")),
        (8, ("a",)),
    ]
    assert document.data == {"a": {"y": 1}, "b": {"q": 1}}
    assert ("a",) in document.incomplete


def test_a_list_that_is_never_closed_is_told_where_it_begins() -> None:
    document = read('[a]\nfolders = ["x",\ny = 1\n')
    assert [(fault.line, fault.reason) for fault in document.faults] == [
        (2, "the list or text that begins here is not closed")
    ]


def test_the_backslash_of_a_special_use_name_is_explained() -> None:
    (fault,) = read('[a]\nfolders = ["\\Sent"]\n').faults
    assert '"\\\\Sent"' in fault.reason


def test_a_header_that_is_not_closed_takes_its_keys_along() -> None:
    document = read("[a\nx = 1\n[b]\ny = 1\n")
    assert [fault.line for fault in document.faults] == [1]
    assert document.data == {"b": {"y": 1}}


@given(st.text(alphabet="ab=[]{}\"'.,#\n 1", max_size=60))
def test_any_text_gives_data_or_a_fault(text: str) -> None:
    document = read(text)
    try:
        expected = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        assert document.faults
        assert all(1 <= fault.line <= text.count("\n") + 2 for fault in document.faults)
    else:
        assert document.data == expected
        assert document.faults == []
