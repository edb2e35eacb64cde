"""Connections to RabbitMQ, and in one sentence why there is none.

The client has three families of errors for a connection that is lost or was never made, and some of
them say nothing.
"""

import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import (
    AMQPError,
    ChannelClosedByBroker,
    ConnectionBlockedTimeout,
    ConnectionClosedByBroker,
)

from reactive_demo.errors import (
    ConfigurationError,
    ReactiveDemoError,
    RefusedError,
    UnavailableError,
    first_line,
)
from reactive_demo.urls import read_rabbitmq_url

__all__ = ["LOST", "checked", "open_channel", "sentence", "translated"]

LOST = (AMQPError, AMQPConnectorException, OSError)
"""What the client raises when the connection is lost, or cannot be made."""

TIMEOUT = 5.0
"""Seconds to wait for an answer."""

ACCESS_REFUSED, NOT_ALLOWED = 403, 530


def checked(url: str) -> str:
    """Return the URL as the client reads it. Raises ConfigurationError."""
    url = read_rabbitmq_url(url, "The broker's URL")
    _parameters(url)
    return url


def open_channel(url: str, *, heartbeat: int) -> BlockingChannel:
    """Connect. With a heartbeat, in seconds, a silent connection is given up after two of them.

    Raises ReactiveDemoError.
    """
    parameters = _parameters(url)
    parameters.heartbeat = heartbeat
    parameters.socket_timeout = parameters.stack_timeout = TIMEOUT
    parameters.blocked_connection_timeout = TIMEOUT
    with translated():
        return pika.BlockingConnection(parameters).channel()


def _parameters(url: str) -> pika.URLParameters:
    try:
        return pika.URLParameters(url)
    except OSError as error:  # ssl_options names a file, and OpenSSL's own errors are such too
        raise ConfigurationError(
            f"The broker's URL names a certificate or key that cannot be read ({first_line(error)}"
            "): correct its ssl_options."
        ) from None
    except (AttributeError, SyntaxError, TypeError, ValueError):
        raise ConfigurationError(
            "The broker's URL has a port or a parameter that is not accepted: correct or remove it."
        ) from None


@contextmanager
def translated() -> Iterator[None]:
    """Raise the library's errors in place of the client's."""
    try:
        yield
    except LOST as error:
        raise sentence(error) from None


def sentence(error: Exception) -> ReactiveDemoError:
    """Return the library's error for one of `LOST`: what is wrong, then what to do."""
    if isinstance(error, ConnectionBlockedTimeout):
        return UnavailableError(
            "RabbitMQ takes no messages, because its disk or its memory is nearly full: make room "
            "there (`rabbitmqctl status` names the alarm)."
        )
    code, words = _reply(error)
    if code:
        if "Login was refused" in words:
            return RefusedError("RabbitMQ refuses the user or the password: correct its URL.")
        if code in (ACCESS_REFUSED, NOT_ALLOWED):
            return RefusedError(
                f"RabbitMQ refuses ({words}): correct its URL, or give that user the right."
            )
        return UnavailableError(f"RabbitMQ refuses ({words}): mend that there; it is tried again.")
    said = _said(error)
    if isinstance(_below(error), ssl.SSLCertVerificationError):
        return UnavailableError(
            f"RabbitMQ's certificate is not trusted ({said}): correct it there, or name its CA in "
            "the URL's ssl_options."
        )
    return UnavailableError(
        f"RabbitMQ does not answer ({said}): start that server, or correct its URL."
    )


def _reply(error: Exception) -> tuple[int, str]:
    """Return with which code and words RabbitMQ closed the connection, or (0, "")."""
    if isinstance(error, ChannelClosedByBroker | ConnectionClosedByBroker):
        return error.reply_code, error.reply_text
    # While the connection is being made, the client quotes that.
    quoted = re.search(r"\((\d{3})\) '(.*)'", str(error), re.DOTALL)
    return (int(quoted[1]), quoted[2]) if quoted else (0, "")


def _said(error: Exception) -> str:
    """Return what the client, or the system below it, says."""
    if isinstance(error, AMQPConnectorException):  # which quotes Python at length
        return f"nothing within {TIMEOUT:.0f} s"
    return first_line(_below(error)) or type(error).__name__


def _below(error: Exception) -> Exception:
    """Return what the client wraps, if it does."""
    return getattr(error.args[0] if error.args else None, "exception", None) or error
