"""The names of Redis keys. A row's key is its channel too."""

__all__ = ["feed_key", "load_key", "quarantine_key", "row_key", "stream_key"]


def row_key(table: str, key: str) -> str:
    """Return the key of the row of `table` with this primary key."""
    return f"{table}:{key}"


def feed_key(table: str) -> str:
    """Return the key of the feed's hash: fencing token, epoch, cursor, newest term."""
    return f"reactive_demo:feed:{table}"


def quarantine_key(table: str) -> str:
    """Return the key of the rows in quarantine, with their reasons."""
    return f"reactive_demo:aside:{table}"


def load_key(table: str, key: str) -> str:
    """Return the key that one reader holds while it loads a missing row."""
    return f"reactive_demo:load:{table}:{key}"


def stream_key(table: str) -> str:
    """Return the key of the stream that write-behind has still to write into the database."""
    return f"reactive_demo:behind:{table}"
