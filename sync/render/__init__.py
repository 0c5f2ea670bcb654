"""A message as Inbox content (DESIGN.md §7), and the canonical form by which a send is recognised when read back.

Pure: the same message and context always give the same request, which is frozen with its hash before it is sent.
"""

from __future__ import annotations

from sync.render.content import canonical_hash, content_of, same_content
from sync.render.message import RenderContext, Rendered, render
from sync.render.renewed import media_items, renew_files
from sync.render.subject import subject_key

__all__ = [
    "RenderContext",
    "Rendered",
    "canonical_hash",
    "content_of",
    "media_items",
    "render",
    "renew_files",
    "same_content",
    "subject_key",
]
