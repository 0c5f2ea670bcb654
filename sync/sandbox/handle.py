"""A sandbox in this process: in a thread with a loop of its own, or inside the running loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from sync.sandbox.clock import Clock
from sync.sandbox.control import Control
from sync.sandbox.emulator import Emulator
from sync.sandbox.errors import SandboxError
from sync.sandbox.operations import Operations
from sync.sandbox.page import pages
from sync.sandbox.server import Api, Listener, bound_socket
from sync.sandbox.settings import (
    DEFAULT_API_KEY,
    DEFAULT_APP_ID,
    DEFAULT_APP_SECRET,
    DEFAULT_INSTANCE_ID,
    DEFAULT_SITE_ID,
    App,
)
from sync.sandbox.store import JsonLines

START_SECONDS = 30.0
STOP_SECONDS = 30.0


class Sandbox(Operations):
    """An Inbox on loopback.

    `with Sandbox() as sandbox:` (or `start()` and `stop()`) runs it in a thread; `async with` runs it in
    the current loop. It keeps its port and its data over a `stop()` and another `start()`. The first of
    `sites` is the default one; `api_key` may be used for all of them, and so may the app, whose
    instance id is `instance_id` on the first site (`add_app` for more).
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        sites: Iterable[str] = (DEFAULT_SITE_ID,),
        api_key: str = DEFAULT_API_KEY,
        data: Path | str | None = None,
        clock: Clock | None = None,
        **switches: object,
    ) -> None:
        self.sites = tuple(sites)
        if not self.sites:
            raise SandboxError("a sandbox needs a site")
        self.api_key = api_key
        self.site_id = self.sites[0]
        self.app_id = DEFAULT_APP_ID
        self.app_secret = DEFAULT_APP_SECRET
        self.instance_id = DEFAULT_INSTANCE_ID
        self.emulator = Emulator(clock=clock, data=None if data is None else JsonLines(Path(data)))
        self.emulator.webhooks.instance_id = self.instance_id
        self._control = Control(self.emulator)
        for site_id in self.sites:
            self.emulator.world.add_site(site_id)
            self._control.permit(api_key, site_id)
        self.add_app(self.app_id, self.app_secret, self.instance_id, self.site_id)
        self._control.do("switch", switches)
        self._host, self._port = host, port
        self._listener: Listener | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end; known from the first start on."""
        if self._port == 0:
            raise SandboxError("the sandbox has no address before it is started")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def running(self) -> bool:
        """Whether it listens."""
        return self._listener is not None

    def add_app(self, app_id: str, secret: str, instance_id: str, site_id: str) -> None:
        """Another app instance which may ask for tokens."""
        with self.emulator.lock:
            self.emulator.access.apps.append(App(app_id, secret, instance_id, site_id))

    def add_api_key(self, key: str, *site_ids: str) -> None:
        """Another API key, permitted for the given sites only."""
        with self.emulator.lock:
            for site_id in site_ids:
                self._control.permit(key, site_id)

    def do(self, verb: str, **arguments: object) -> object:
        """Run one verb of the admin API on the data itself; raises `SandboxError`."""
        return self._control.do(verb, arguments)

    def _pause(self, seconds: float) -> None:
        with self.emulator.changed:
            self.emulator.changed.wait(seconds)

    # --- running ----------------------------------------------------------------------------------

    def start(self) -> Self:
        """Listen, served by a thread; returns when it answers. The same port as before, if there was one."""
        started = threading.Event()
        listener = self._prepare()

        def run() -> None:
            async def serve() -> None:
                self._loop = asyncio.get_running_loop()
                started.set()
                await self._serve(listener)

            asyncio.run(serve())

        self._thread = threading.Thread(target=run, name="inbox-sync sandbox", daemon=True)
        self._thread.start()
        if not (started.wait(START_SECONDS) and listener.listening.wait(START_SECONDS)):
            raise SandboxError(f"the sandbox did not start within {START_SECONDS} s")
        return self

    def stop(self) -> None:
        """Close all connections and stop listening. The data stays; a second call does nothing."""
        listener, thread, loop = self._listener, self._thread, self._loop
        if listener is None or thread is None or loop is None:
            return
        loop.call_soon_threadsafe(listener.end)
        thread.join(STOP_SECONDS)
        if thread.is_alive():
            raise SandboxError(f"the sandbox did not stop within {STOP_SECONDS} s")
        self._listener, self._thread, self._loop = None, None, None

    def close(self) -> None:
        """Stop, and close the data file."""
        self.stop()
        self.emulator.close()

    async def astart(self) -> Self:
        """Listen, served by the running loop."""
        listener = self._prepare()
        self._task = asyncio.create_task(self._serve(listener))
        while not listener.listening.is_set():
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0)
        return self

    async def astop(self) -> None:
        """Stop what `astart` began."""
        if self._listener is None or self._task is None:
            return
        self._listener.end()
        await self._task
        self._listener, self._task = None, None

    async def run(self) -> None:
        """Serve in the running loop until `end` or cancellation."""
        await self._serve(self._listener or self._prepare())

    def end(self) -> None:
        """Make `run` return. To be called in its loop."""
        if self._listener is not None:
            self._listener.end()

    def _prepare(self) -> Listener:
        if self._listener is not None:
            raise SandboxError("the sandbox is running already")
        self._socket = bound_socket(self._host, self._port)
        self._port = int(self._socket.getsockname()[1])
        self._listener = Listener(self.emulator, Api(self.emulator, pages(self.emulator, self._control)))
        return self._listener

    async def _serve(self, listener: Listener) -> None:
        try:
            await listener.serve([self._socket])
        finally:
            self._socket.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await self.astart()

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.astop()
        self.emulator.close()
