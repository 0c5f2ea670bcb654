"""Ports for servers that are told theirs before they listen."""

from __future__ import annotations

import itertools
import os
import random
import re
import socket
from pathlib import Path

FIRST, BLOCK, BLOCKS = 12_000, 1_000, 16
"""Sixteen test processes side by side have a thousand each."""
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def _own_block() -> range:
    """The ports of this test process, below those that the kernel gives to whoever asks for any; empty where it gives
    those, too."""
    lowest = int(_RANGE.read_text().split()[0]) if _RANGE.exists() else 0
    number = int((re.search(r"\d+$", os.environ.get("PYTEST_XDIST_WORKER", "")) or ["0"])[0]) % BLOCKS
    begin = FIRST + BLOCK * number
    return range(begin, begin + BLOCK) if begin + BLOCK <= lowest else range(0)


_block = _own_block()
_next = itertools.count(random.SystemRandom().randrange(BLOCK))


def free_port() -> int:
    """A port of the loopback interface that nobody has. Until the server listens, which may be seconds later, nobody else
    comes by it by chance: the kernel gives it to no socket, and no other test process tries it."""
    for _ in _block:
        port = _block[next(_next) % BLOCK]
        if _is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
