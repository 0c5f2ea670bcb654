"""HTML mail as a person would read it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.text import html_to_text
from sync.text.html import MAX_HTML_CHARS, MAX_TREE_DEPTH, is_html
from tests.growth import assert_linear

TAGS = [
    *("p", "div", "b", "a", "td", "tr", "table", "ul", "li", "ol", "br"),
    *("pre", "blockquote", "style", "script", "span", "img", "font", "h1", "form", "select"),
]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>One</p><p>Two</p>", "One\n\nTwo"),
        ("<div>One</div><div>Two<br></div><div><br></div><div>Three</div>", "One\nTwo\n\nThree"),
        ("One<br>Two<br><br>Three", "One\nTwo\n\nThree"),
        ("  lots \n of   <b> white </b> space ", "lots of white space"),
        ("half<b>word</b>", "halfword"),
        ("&lt;b&gt; &amp; &euro;5&nbsp;&ndash; &#128512;", "<b> & €5 – 😀"),
        ("<h1>Title</h1>text", "Title\n\ntext"),
        ("<ul><li>one<li>two</ul>after", "- one\n- two\n\nafter"),
        ("<ol start=3><li>c</li><li>d<ul><li>deep</li></ul></li></ol>", "3. c\n4. d\n  - deep"),
        ("<li>alone", "- alone"),
        ("a<hr>b", "a\n---\nb"),
        ("<q>said</q>", "“said”"),
        ("<blockquote>old<blockquote>older</blockquote></blockquote>new", "> old\n>\n> > older\n\nnew"),
        ("<pre>  a\n    b</pre>", "  a\n    b"),
        ("<noscript>shown</noscript> <button>Go</button> <textarea>typed</textarea>", "shown Go typed"),
        ("x<wbr>y<sup>2</sup>", "xy2"),
    ],
)
def test_blocks_lists_and_breaks(html: str, text: str) -> None:
    assert html_to_text(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ('<a href="https://x.example/a?b=1&amp;c=2">here</a>', "here (https://x.example/a?b=1&c=2)"),
        ('<a href="https://x.example/">x.example</a>', "x.example"),
        ('<a href="https://x.example/a">https://x.example/a</a>', "https://x.example/a"),
        ('<a href="mailto:jo@example.com?subject=x">write</a>', "write (jo@example.com)"),
        ('<a href="mailto:jo@example.com">jo@example.com</a>', "jo@example.com"),
        ('<a href="tel:+49 30 123">+4930 123</a>', "+4930 123"),
        ('<a href="#top">up</a> <a href="javascript:x()">run</a> <a name=y>anchor</a>', "up run anchor"),
        ('<a href="https://track.example/1"><img src=x></a>text', "text"),
        ('<a href="https://x.example/1"><img alt="Buy now"></a>', "[Buy now] (https://x.example/1)"),
        (f'<a href="https://x.example/{"t" * 2000}">short</a>', "short"),
        ('see <a href="https://x.example/1">this</a>, please', "see this (https://x.example/1), please"),
    ],
)
def test_links_name_their_target_once(html: str, text: str) -> None:
    assert html_to_text(html) == text


def test_tables_read_row_by_row() -> None:
    rows = (
        "<tr><th>Item</th><th>Count</th></tr><tr><td><p>Cup</p></td><td><p>3</p></td></tr><tr><td>a</td><td></td></tr>"
    )
    assert (
        html_to_text(f"<p>Order</p><table>{rows}</table><p>Thanks</p>") == "Order\n\nItem | Count\nCup | 3\na\n\nThanks"
    )


def test_layout_tables_leave_no_marks() -> None:
    html = "<table><tr><td><table><tr><td>Dear Jo,</td></tr><tr><td><p>one</p><p>two</p></td></tr></table></td></tr></table>"
    assert html_to_text(html) == "Dear Jo,\none\n\ntwo"


@pytest.mark.parametrize(
    "hidden",
    [
        "<style>p{}</style>",
        "<script>if (a < b) x()</script>",
        "<title>no</title>",
        "<!-- comment -->",
        "<div style='display:none'>pre</div>",
        "<div style='mso-hide:all; x:y'>pre</div>",
        "<span style='DISPLAY : NONE !important'>pre</span>",
        "<div style='max-height:0px;overflow:hidden'>pre</div>",
        "<div style='opacity:0'>pre</div>",
        "<div hidden>pre<p>more</p></div>",
        "<img src='https://track.example/p.gif' width=1 height=1 alt=''>",
        "&zwnj;&nbsp;&zwnj;&nbsp;&zwnj;&nbsp;&zwnj;&nbsp;&zwnj;&nbsp;&#847; &#847; &shy;",
    ],
)
def test_what_nobody_sees_is_left_out(hidden: str) -> None:
    assert html_to_text(f"{hidden}<p>Hello</p>").strip() == "Hello"


def test_nearly_hidden_is_shown() -> None:
    assert html_to_text("<p style='opacity:0.9;line-max-height:0'>Hello</p>") == "Hello"


def test_hidden_text_is_better_than_none() -> None:
    assert html_to_text("<div style='display:none'>only words</div>") == "only words"


def test_pictures_give_their_description() -> None:
    assert html_to_text('<img alt="broken cup" src=a> <img alt="😀">') == "[broken cup] 😀"


def test_embedded_pictures_do_not_use_up_the_limit() -> None:
    html = f'<img src="data:image/png;base64,{"A" * (MAX_HTML_CHARS + 10)}"><p>words</p>'
    assert html_to_text(html) == "words"


@given(st.text(max_size=300))
def test_any_text_gives_clean_text(html: str) -> None:
    text = html_to_text(html)
    assert "\x00" not in text
    text.encode("utf-8")


@given(st.lists(st.sampled_from(TAGS), max_size=60), st.booleans())
def test_visible_words_survive_any_nesting(tags: list[str], close: bool) -> None:
    inner = [tag for tag in tags if tag not in {"style", "script", "select"}]
    html = "".join(f"<{tag}>" for tag in inner) + "word" + "".join(f"</{tag}>" for tag in reversed(inner) if close)
    assert "word" in html_to_text(html)


def test_a_lone_surrogate_does_no_harm() -> None:
    assert html_to_text("<p>a\ud800b</p>") == "a\ufffdb"


DEEP = MAX_TREE_DEPTH * 20
HOSTILE = {
    "nested": "<div>" * DEEP + "word",
    "nested bold": "<b>" * DEEP + "word",
    "fonts": "".join(f"<font color={n}>" for n in range(5_000)) + "<p>word" * 5_000,
    "attributes": "<a " + " ".join(f"a{n}" for n in range(100_000)) + ">word",
    "many attributes": ("<a " + " ".join(f"a{n}" for n in range(1_100)) + ">word") * 100,
    "angles": "word" + "<" * 900_000,
    "open tags": "word " + "<a" * 400_000,
    "tables": "<table><tr><td>" * 30_000 + "word",
    "entities": "word" + "&" * 900_000,
    "links": "<a href=http://x.y/>" * 40_000 + "word",
    "paragraphs": "<p>word</p>" * 80_000,
    "quotes": "<blockquote>word" * 30_000,
    "scripts": "word" + "<script>" * 100_000,
    "titles": "word" + "<title>" * 100_000,
    "blanks in a style": '<div style="opacity' + " " * 900_000 + '">word',
    "lists": "<ul><li>" * 20_000 + "word",
    "data": "word" + "data:" * 190_000,
    "comments": "word" + "<!--" * 200_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_markup_takes_linear_time_and_keeps_the_text(name: str) -> None:
    assert "word" in html_to_text(HOSTILE[name])
    assert_linear(html_to_text, HOSTILE[name])


def test_html_that_is_labelled_plain_is_recognised() -> None:
    assert is_html("<!DOCTYPE html><html>")
    assert is_html("\n<div><p>a</p><br><b>x</b></div>")
    assert not is_html("Plain words with <angle> brackets")
    assert not is_html("<jo@example.com> wrote:")


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<span style='font-size:0'>pre</span>Hello", "Hello"),
        ("<div style='font-size:1px;line-height:1px'>pre</div>Hello", "Hello"),
        ("<table><td style='font-size:0px'><div style='font-size:14px'>Hello</div>pre</table>", "Hello"),
        ("<p style='font-size:0.9em'>Hello</p>", "Hello"),
        ("<div style='height:0;overflow:hidden'>pre</div>Hello", "Hello"),
        ("<div style='height:0'>Hello</div>", "Hello"),
        (
            "<style>.pre, p.x{color:red;display:none}</style><b class='a pre'>pre</b><p class=x>pre</p><i class=x>no p</i>",
            "no p",
        ),
        (
            "<style>@media x{.m{display:none}} .s{display:none}.s{display:block}</style><b class=m>A</b><b class=s>b</b>",
            "Ab",
        ),
        ("<style>.pre{display:none}</style><b class=pre style='display:inline'>Hello</b>", "Hello"),
        ("<style>.a .b, #x, .c:hover{display:none}</style><p class=b>He</p><p class=c id=x>llo</p>", "He\n\nllo"),
        ("<style>/* .a{ */.a{display:none}</style><p class=a>only</p>", "only"),
    ],
)
def test_hiding_is_seen_through_inherited_sizes_boxes_and_classes(html: str, text: str) -> None:
    assert html_to_text(html) == text


@pytest.mark.parametrize(
    ("href", "shown"),
    [
        ("https://x.example/a?utm_source=n&utm_medium=m", "https://x.example/a"),
        ("https://x.example/a?utm_source=n&id=7&fbclid=z#part", "https://x.example/a?id=7#part"),
        ("https://x.example/a?redirect=utm_source", "https://x.example/a?redirect=utm_source"),
        (
            "https://nam02.safelinks.protection.outlook.com/?url=https%3A%2F%2Fy.example%2Fb&data=1",
            "https://y.example/b",
        ),
        ("https://www.google.com/url?q=https://y.example/b&sa=D", "https://y.example/b"),
        (
            "https://nam02.safelinks.protection.outlook.com/?url=javascript:x",
            "https://nam02.safelinks.protection.outlook.com/?url=javascript:x",
        ),
        (
            "https://a.safelinks.protection.outlook.com.evil.example/?url=x",
            "https://a.safelinks.protection.outlook.com.evil.example/?url=x",
        ),
    ],
)
def test_links_lead_to_the_place_itself(href: str, shown: str) -> None:
    assert html_to_text(f"<a href='{href}'>here</a>") == f"here ({shown})"


def test_a_link_target_is_written_out_once() -> None:
    html = "<a href='https://x.example/a'>one</a> <a href='https://x.example/a'>two</a> <a href='https://x.example/b'>three</a>"
    assert html_to_text(html) == "one (https://x.example/a) two three (https://x.example/b)"


@pytest.mark.parametrize(
    ("img", "text"),
    [
        ("<img src='cid:a@x'>", "[photo.jpg]"),
        ("<img src='cid:a%40x' alt='image001.png'>", "[photo.jpg]"),
        ("<img src='CID:a@x' alt='broken cup'>", "[broken cup]"),
        ("<img src='cid:unknown@x' alt='Image'>", ""),
        ("<img src='cid:a@x' width=1>", ""),
        ("<img src='https://x.example/p.png' style='width: 1px; height: 1px' alt=open>", ""),
    ],
)
def test_pictures_that_came_along_are_named_where_they_stand(img: str, text: str) -> None:
    assert html_to_text(f"a{img}", pictures={"a@x": "photo.jpg"}) == f"a{text}"


def test_columns_of_data_stay_columns_and_layout_has_none() -> None:
    assert html_to_text("<table><tr><th>a<th>b<th>c<tr><td>1<td><td>3</table>") == "a | b | c\n1 |  | 3"
    assert html_to_text("<table role=presentation><tr><td>Order:<td>4711</table>") == "Order: 4711"


@pytest.mark.parametrize(
    ("kind", "start", "marks"),
    [("a", 1, "a b"), ("A", 26, "Z AA"), ("i", 3, "iii iv"), ("I", 9, "IX X"), ("1", 0, "0 1"), ("x", 1, "1 2")],
)
def test_lists_count_as_they_say(kind: str, start: int, marks: str) -> None:
    first, second = marks.split()
    html = f"<ol type={kind} start={start}><li>x<li>y</ol>"
    assert html_to_text(html) == f"{first}. x\n{second}. y"
