"""The profile app as a service in the foreground, until a signal stops it."""

import logging
import os
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext

from reactive_demo.capture.install import install
from reactive_demo.errors import LockTimeoutError, RefusedError
from reactive_demo.feeds.installed import LOG, InstalledFeed
from reactive_demo.listener.listener import Listener
from reactive_demo.postgres import open_postgres
from reactive_demo.redis_cache.cache import Cache
from reactive_demo.tools.rights import lacking_replication
from reactive_demo.tools.services import ended_by_signal, kind_installed
from reactive_demo.tutorial.web.app import ProfileApp
from reactive_demo.tutorial.web.rights import lacking

__all__ = ["allow_many_files", "serve"]

log = logging.getLogger(__name__)


def serve(
    database_url: str,
    redis_url: str,
    *,
    port: int,
    address: str,
    hosts: Collection[str],
    listening: bool,
    feed: str | None = None,
) -> None:
    """Run the profile app until SIGTERM or SIGINT; with `listening`, run a listener beside it.

    Installs capture on the table `profile` first, for `feed` or as it is installed; an account that
    may not install can serve where that was done. Raises ReactiveDemoError if the port is taken, or
    rights are missing.
    """
    ended = ended_by_signal()
    allow_many_files()
    _capture(database_url, feed, listening=listening)
    app = ProfileApp(database_url, redis_url, port=port, address=address, hosts=hosts)
    listener: AbstractContextManager[object] = nullcontext()
    if listening:
        listener = Listener(InstalledFeed(database_url, feed=feed), Cache(redis_url))
    with app, listener:
        print(f"The profile app is at {app.url}", flush=True)  # noqa: T201  (a command line prints)
        ended.wait()


def _capture(database_url: str, feed: str | None, *, listening: bool) -> None:
    """Put capture on the table `profile`, or see to it that it is there and may be used."""
    kind = feed or kind_installed(database_url, "public.profile")
    try:
        install(database_url, feed=kind)
    except (LockTimeoutError, RefusedError) as error:
        rights = lacking(database_url, kind, listening=listening)
        if rights is None:
            raise RefusedError(
                f"The table profile is not captured, and to do that failed ({error}): run "
                "`reactive-demo install` as the database's owner, then serve again."
            ) from None
        if rights:
            raise RefusedError(
                f"This account lacks rights that serve needs: GRANT {', '.join(rights)} to it."
            ) from None
        log.info("The table profile is captured already, and stays as it is: %s", error)
    if kind == LOG and listening:
        with open_postgres(database_url, "serve") as connection:
            if mended := lacking_replication(connection):
                raise RefusedError(f"This account may not read the log, to listen: {mended}.")


def allow_many_files() -> None:
    """Raise this process's limit on open files as far as possible: each stream needs one."""
    if os.name == "posix":
        import resource  # noqa: PLC0415  (Windows has no such limit)

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
