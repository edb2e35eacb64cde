"""The errors that a caller can act on.

    ReactiveDemoError       one sentence: what is wrong, then what to do
      ConfigurationError    a URL, an environment variable or an argument is wrong
      UnavailableError      a server does not answer                              transient
        ReadOnlyError       it answers and takes no writes for now                transient
        BusyError           it answers and has too much to do                     transient
      LockTimeoutError      a table stayed locked                                 transient
      NotCapturedError      the table is not captured, or its capture is broken   transient
      RefusedError          a server answered and refused: a right, a limit, a constraint
      FencedError           another listener leads now; only the listener meets it

`transient` says that the same call may succeed later without a change of yours. The web app turns
a transient error into 503 and any other into 500; a listener retries a transient one with growing
back-off. No message contains a password, but some name a host or a user: `public` is what strangers
may be told instead.
"""

from typing import ClassVar

import psycopg
import redis

__all__ = [
    "BusyError",
    "ConfigurationError",
    "FencedError",
    "LockTimeoutError",
    "NotCapturedError",
    "ReactiveDemoError",
    "ReadOnlyError",
    "RefusedError",
    "UnavailableError",
    "first_line",
    "in_a_sentence",
    "may_pass",
]


class ReactiveDemoError(Exception):
    """What is wrong and what to do about it; shown in notebooks without a traceback."""

    transient: ClassVar[bool] = False
    """Whether the same call may succeed later, as it is."""
    public: ClassVar[str | None] = None
    """The message for strangers: it names no host, user or database. None keeps it to ourselves."""

    def _render_traceback_(self) -> list[str]:
        """Give IPython the message in place of a traceback."""
        return [f"{type(self).__name__}: {self}"]


class ConfigurationError(ReactiveDemoError):
    """A URL, an environment variable or an argument is wrong."""


class UnavailableError(ReactiveDemoError):
    """A server does not answer."""

    transient = True


class ReadOnlyError(UnavailableError):
    """A server answers and takes no writes for now."""

    public = "The database is read-only for now: try again when that is over."


class BusyError(UnavailableError):
    """A server answers and has too much to do."""

    public = "The database is busy: try again in a moment."


class LockTimeoutError(ReactiveDemoError):
    """A table, or a row, stayed locked by somebody else's transaction."""

    transient = True
    public = "Another transaction holds a lock on what you want to change: try again in a moment."


class NotCapturedError(ReactiveDemoError):
    """The table is not captured, or its capture is broken; `install` mends it."""

    transient = True


class RefusedError(ReactiveDemoError):
    """A server answered, and refused what was asked of it."""


class FencedError(ReactiveDemoError):
    """The lease under which a batch was written is not, or no longer, the newest."""

    transient = True


def first_line(error: BaseException | None) -> str:
    """Return an error's first line: PostgreSQL and libpq add lines of detail and hints."""
    return str(error).strip().partition("\n")[0]


def in_a_sentence(error: BaseException) -> str:
    """Return what is wrong, then what to do, of an error of ours, of a server or of the system."""
    said = first_line(error)
    match error:
        case ReactiveDemoError():
            return str(error)
        case redis.AuthenticationError() | redis.exceptions.NoPermissionError():
            advice = "correct REDIS_URL, or give that account the right"
        case redis.ConnectionError() | redis.TimeoutError():
            return f"Redis does not answer ({said}): start that server, then try again."
        case psycopg.OperationalError(sqlstate=None):
            return f"PostgreSQL does not answer ({said}): start that server, then try again."
        case (
            psycopg.errors.InsufficientPrivilege()
            | psycopg.errors.InvalidAuthorizationSpecification()
        ):
            advice = "correct DATABASE_URL, or give that account the right"
        case psycopg.Error() | redis.RedisError():
            advice = "mend that, then try again; `reactive-demo doctor` may know more"
        case OSError(strerror=str()):
            named = f" {error.filename}" if error.filename else ""
            return f"The system refuses{named} ({error.strerror}): mend that, then try again."
        case _:
            return f"{type(error).__name__}: {said}"
    server = "PostgreSQL" if isinstance(error, psycopg.Error) else "Redis"
    return f"{server} refuses ({said}): {advice}."


def may_pass(error: Exception) -> bool:
    """Return whether it may pass: what a server or the machine reports, and not a bug of ours."""
    if isinstance(error, psycopg.errors.SyntaxError | redis.DataError | ConfigurationError):
        return False
    if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
        return False  # libpq cannot read the URL
    return isinstance(error, psycopg.Error | redis.RedisError | ReactiveDemoError | OSError)
