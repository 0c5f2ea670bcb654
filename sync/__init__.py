"""inbox-sync: brings messages from outside services into a Wix site's Inbox."""

__version__ = "0.1.0"
