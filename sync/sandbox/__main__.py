"""`python -m sync.sandbox`: a sandbox in the foreground. Prints one JSON line when it listens."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys

from sync.sandbox.errors import SandboxError
from sync.sandbox.handle import Sandbox
from sync.sandbox.settings import DEFAULT_API_KEY, DEFAULT_SITE_ID


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sync.sandbox", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=8025, help="port; 0 takes a free one (default %(default)s)")
    parser.add_argument("--data", help="file that keeps the data (default: memory)")
    parser.add_argument("--site", action="append", help=f"a site id, repeatable (default {DEFAULT_SITE_ID})")
    parser.add_argument("--api-key", default=DEFAULT_API_KEY, help="the API key (default %(default)s)")
    parser.add_argument("--switch", action="append", default=[], metavar="NAME=JSON", help="a switch, repeatable")
    options = parser.parse_args(arguments)
    try:
        sandbox = Sandbox(
            host=options.host,
            port=options.port,
            data=options.data,
            sites=options.site or (DEFAULT_SITE_ID,),
            api_key=options.api_key,
        )
        sandbox.switch(**dict(_switch(each) for each in options.switch))
        asyncio.run(_run(sandbox))
    except (SandboxError, OSError) as problem:
        sys.stderr.write(f"sandbox: {problem}\n")
        return 1
    return 0


def _switch(text: str) -> tuple[str, object]:
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


async def _run(sandbox: Sandbox) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with sandbox:
        ready = {
            "url": sandbox.url,
            "site_id": sandbox.site_id,
            "sites": sandbox.sites,
            "api_key": sandbox.api_key,
        }
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await stopped.wait()


if __name__ == "__main__":
    sys.exit(main())
