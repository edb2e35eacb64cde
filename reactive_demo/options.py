"""How a pipeline paces itself. Every duration is in seconds."""

from dataclasses import dataclass

__all__ = ["Options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The settings of a feed and of the listener that follows it; the defaults suit most.

    ChangeTableFeed(url, "orders", options=Options(heartbeat=1.0, retention=7 * 86_400))
    """

    heartbeat: float = 2.0
    """The longest sleep: then a session reads although no doorbell rang, and a leader looks
    whether it still leads."""
    connect_timeout: float = 5.0
    """Give up connecting to PostgreSQL after this long; libpq rounds up to a second."""
    silence_timeout: float = 20.0
    """Give up a connection on which PostgreSQL has been silent for this long when asked."""
    max_backoff: float = 1.0
    """The longest pause between two attempts to reach a server."""
    standby_poll: float = 1.0
    """Between a standby's attempts to lead."""

    min_poll: float = 0.001
    """Between two reads while a writer is at work that did not ring; doubled each time ..."""
    max_poll: float = 0.020
    """... up to this ..."""
    idle_poll: float = 0.300
    """... and up to this once nothing has come for a second."""
    coalesce_delay: float = 0.000_1
    """Wait this long for each change of the last read before the next read: a read costs much,
    each change in it little ..."""
    max_coalesce_delay: float = 0.005
    """... up to this."""

    batch_rows: int = 500
    """The most rows that are written to the cache at once."""
    batch_bytes: int = 1_000_000
    """And the most bytes, about."""
    page_rows: int = 5_000
    """The most rows that are read at once while the cache is filled."""
    page_bytes: int = 10_000_000
    """And the most bytes, about."""

    retention: float = 86_400.0
    """How long the change log remembers a change. A cache that was away for longer is filled
    again."""
    prune_interval: float = 600.0
    """Between two searches for changes to forget."""
    prune_rows: int = 500
    """Changes examined in one step of pruning."""
    prune_pause: float = 0.05
    """Between two steps, while there is much to prune."""
