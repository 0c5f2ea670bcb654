"""A client over each candidate transport, with short time-outs."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable

import pytest

from sync.http import HttpClient, HttpLimits
from tests.fidelity.candidates import CANDIDATES, Candidate
from tests.servers.misbehaving import LOOPBACK_CERTIFICATE

LIMITS = HttpLimits(
    pool_seconds=0.3,
    connect_seconds=0.4,
    write_seconds=0.4,
    answer_seconds=0.4,
    total_seconds=3.0,
    answer_max_bytes=100_000,
)

Connect = Callable[[int], HttpClient]


def trusting_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(LOOPBACK_CERTIFICATE))


@pytest.fixture(params=CANDIDATES, ids=lambda candidate: candidate.name)
def candidate(request: pytest.FixtureRequest) -> Candidate:
    assert isinstance(request.param, Candidate)
    return request.param


@pytest.fixture
async def connect(candidate: Candidate) -> AsyncIterator[Connect]:
    """A client with at most so many connections."""
    clients: list[HttpClient] = []

    def make(max_connections: int) -> HttpClient:
        clients.append(HttpClient(limits=LIMITS, transport=candidate.make(trusting_context, max_connections)))
        return clients[-1]

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
def http(connect: Connect) -> HttpClient:
    return connect(64)
