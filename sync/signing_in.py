"""`auth`: a person signs in for a source, once, and is told whether it works."""

from __future__ import annotations

from sync.answers import AuthAnswer, OnProgress
from sync.clock import Clock
from sync.connector import SignIn, SignsIn
from sync.errors import ConfigError
from sync.examine import check_source, looking_context
from sync.ledger import Ledger
from sync.poll import Poller


async def sign_in(
    poller: Poller, answer: str | None, ledger: Ledger, clock: Clock, on_progress: OnProgress
) -> AuthAnswer:
    """Begins a sign-in, or finishes one with what the person pasted. Where nothing is to be pasted it waits until the
    person has done it. Raises ConfigError for a source that has no sign-in, AuthError when it does not work."""
    connector = poller.connector
    if not isinstance(connector, SignsIn):
        raise ConfigError(
            f"{poller.name} signs in with what stands in the configuration; there is nobody to ask",
            code="auth.not_needed",
            next_step="change the secret that the source names, if it is refused",
        )
    await poller.load()
    ctx = looking_context(poller, ledger, clock)
    waiting: SignIn | None
    if answer is not None:
        waiting = await connector.continue_sign_in(answer, ctx)
    else:
        waiting = await connector.begin_sign_in(ctx)
        if waiting is not None and waiting.wants_answer:
            return {"source": poller.name, "signed_in": False, "url": waiting.url, "findings": []}
    while waiting is not None:
        sentence = f"open {waiting.url} and type the code {waiting.code}"
        on_progress({"stage": "signing in", "about": poller.name, "done": 0, "total": None, "sentence": sentence})
        await clock.sleep(waiting.interval_seconds)
        waiting = await connector.continue_sign_in("", ctx)
    findings = await check_source(poller, ledger, clock)
    return {"source": poller.name, "signed_in": True, "url": "", "findings": findings}
