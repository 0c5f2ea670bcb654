"""Telling systemd how the service is: the sd_notify(3) protocol, a datagram to the socket in $NOTIFY_SOCKET."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def notify(*fields: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Sends fields such as `READY=1` or `STATUS=…`. False when the process was not started by systemd, or when nobody
    listens: being unable to tell must never stop the service. A line break in a field would begin another: it becomes
    a space."""
    address = environ.get("NOTIFY_SOCKET")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
            connection.connect(address)
            connection.sendall("\n".join(" ".join(field.splitlines()) for field in fields).encode())
    except OSError:
        return False
    return True
