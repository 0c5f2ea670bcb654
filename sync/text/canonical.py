"""The form in which two texts are compared when a send is read back (DESIGN.md §2, "Sending", step 4)."""

from __future__ import annotations

import unicodedata

from sync.text.clean import without_mark_runs


def canonical(text: str) -> str:
    """`text` in NFC with every run of white space (line ends, tabs, no-break spaces…) as one blank and none at the ends.

    A service that changes line ends, trims, or composes characters leaves the canonical form alone; one that changes
    words does not. Lone surrogates count as U+FFFD.
    """
    if not text.isascii():
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        text = unicodedata.normalize("NFC", without_mark_runs(text.replace("\ufeff", "")))
    return " ".join(text.split())
