"""How the profile app paces itself. Every duration is in seconds."""

from dataclasses import dataclass

__all__ = ["WebOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """The app's timings; the defaults suit most."""

    tick: float = 1.0
    """Between two checks of which clients need a heartbeat."""
    heartbeat_after: float = 15.0
    """Send a heartbeat to a client that has been sent nothing for this long: proxies close
    connections that are silent."""
    client_timeout: float = 60.0
    """Drop a client that has taken nothing for this long; a browser reconnects."""
    peer_timeout: float = 45.0
    """Give up a connection whose other end has acknowledged nothing for this long, as after a
    laptop was shut: with the heartbeat, that is a minute."""
    header_timeout: float = 60.0
    """Close a connection on which no whole request head has come for this long."""
    body_timeout: float = 10.0
    """Close a connection whose request body takes longer."""
    lock_timeout: float = 0.2
    """How long a batch of writes waits for a locked row before its rows are written one by one."""
    lock_patience: float = 2.0
    """Answer 503 to a write whose row has been locked for this long."""
    poll_interval: float = 5.0
    """Between two looks at all rows that are followed, whatever the messages say."""
    ping_interval: float = 5.0
    """Between two PINGs on the Redis subscription."""
    silence_timeout: float = 10.0
    """Replace the subscription when Redis has been silent for this long."""
    retry_pause: float = 0.5
    """Between two attempts to reach Redis."""
    listener_timeout: float = 6.0
    """Report the pipeline as stale when no listener has given a sign of life for this long;
    listeners give one every 2 s."""
    shutdown_timeout: float = 2.0
    """Let open requests finish for this long when the server stops."""
