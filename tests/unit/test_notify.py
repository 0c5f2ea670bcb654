"""What systemd is told: datagrams to $NOTIFY_SOCKET (sd_notify(3))."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

import pytest

from sync.notify import notify


@pytest.mark.parametrize("abstract", [False, True], ids=["file", "abstract"])
def test_fields_come_as_one_datagram(tmp_path: Path, abstract: bool) -> None:
    address = f"@{tmp_path}" if abstract else str(tmp_path / "socket")
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as systemd:
        systemd.settimeout(30)
        systemd.bind("\0" + address[1:] if abstract else address)
        assert notify("READY=1", "STATUS=schön", environ={"NOTIFY_SOCKET": address})
        assert systemd.recv(4096).decode() == "READY=1\nSTATUS=schön"


def test_without_systemd_nothing_happens() -> None:
    assert not notify("READY=1", environ={})
    assert not notify("READY=1", environ={"NOTIFY_SOCKET": ""})


def test_being_unable_to_tell_stops_nobody(tmp_path: Path) -> None:
    assert not notify("READY=1", environ={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert not notify("READY=1", environ={"NOTIFY_SOCKET": "/" + "x" * 300})


def test_a_text_cannot_add_fields_of_its_own(tmp_path: Path) -> None:
    address = str(tmp_path / "socket")
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as systemd:
        systemd.settimeout(30)
        systemd.bind(address)
        notify("STATUS=refused:\nMAINPID=1", environ={"NOTIFY_SOCKET": address})
        assert systemd.recv(4096).decode() == "STATUS=refused: MAINPID=1"
