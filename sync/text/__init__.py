"""Text as people read it: cleaning, canonical form, HTML to text, limits in UTF-16 units.

Pure and linear in time: every function here takes whatever a stranger sent and gives clean text back, never an error.
"""

from __future__ import annotations

from sync.text.canonical import canonical
from sync.text.clean import clean, clean_line
from sync.text.html import html_to_text
from sync.text.units import cut_units, split_units, utf16_length

__all__ = ["canonical", "clean", "clean_line", "cut_units", "html_to_text", "split_units", "utf16_length"]
