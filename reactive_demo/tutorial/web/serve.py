"""The profile app as a service: in the foreground, until it is told to stop."""

import os
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext

from reactive_demo.capture.install import install
from reactive_demo.feeds import ChangeTableFeed
from reactive_demo.listener.listener import Listener
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.tools.services import ended_by_signal
from reactive_demo.tutorial.web.app import ProfileApp

__all__ = ["allow_many_files", "serve"]


def serve(
    database_url: str,
    redis_url: str,
    *,
    port: int,
    address: str,
    hosts: Collection[str],
    listening: bool,
) -> None:
    """Run the profile app until SIGTERM or SIGINT; with `listening`, a listener beside it.

    The table `profile` is captured first. Raises ReactiveDemoError if the port is taken.
    """
    ended = ended_by_signal()
    allow_many_files()
    install(database_url)
    app = ProfileApp(database_url, redis_url, port=port, address=address, hosts=hosts)
    listener: AbstractContextManager[object] = nullcontext()
    if listening:
        listener = Listener(ChangeTableFeed(database_url), Cache(redis_url))
    with app, listener:
        print(f"The profile app is at {app.url}", flush=True)  # noqa: T201  (who started it asks)
        ended.wait()


def allow_many_files() -> None:
    """Raise this process's limit of open files as far as it may: each viewer needs one."""
    if os.name == "posix":
        import resource  # noqa: PLC0415  (Windows has no such limit)

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
