"""`inbox-sync demo`: two sample mailboxes into a sandbox Inbox, with the real daemon, killed once in the middle.

A sandbox and the daemon run as processes of their own in a temporary folder. What must arrive is written down beside
the mails (`mails/manifest.toml`); the demo compares that with what the sandbox holds, not with the ledger.
"""

from sync.demo.play import DemoOptions, run

__all__ = ["DemoOptions", "run"]
