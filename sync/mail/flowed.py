"""`text/plain; format=flowed` (RFC 3676): soft line breaks taken out, quote marks kept."""

from __future__ import annotations

SIGNATURE = "-- "


def unflow(text: str, *, delete_space: bool = False) -> str:
    """`text` (line ends as newlines) with its paragraphs on one line each. `delete_space` is the DelSp parameter."""
    out: list[str] = []
    paragraph: list[str] = []
    depth = 0

    def end_paragraph() -> None:
        if paragraph:
            out.append(_quoted("".join(paragraph), depth))
            paragraph.clear()

    for line in text.split("\n"):
        content = line.lstrip(">")
        line_depth = len(line) - len(content)
        content = content.removeprefix(" ")
        if content == SIGNATURE or line_depth != depth:
            end_paragraph()
        depth = line_depth
        if content.endswith(" ") and content != SIGNATURE:
            paragraph.append(content[:-1] if delete_space else content)
        else:
            paragraph.append(content)
            end_paragraph()
    end_paragraph()
    return "\n".join(out)


def _quoted(text: str, depth: int) -> str:
    return f"{'>' * depth} {text}" if depth else text
