"""What Redis keys are called. A row's is its channel too."""

__all__ = ["aside_key", "feed_key", "load_key", "row_key", "stream_key"]


def row_key(table: str, key: str) -> str:
    """The row of a table with this primary key."""
    return f"{table}:{key}"


def feed_key(table: str) -> str:
    """How far the feed of a table was read, and who may write what it tells."""
    return f"reactive_demo:feed:{table}"


def aside_key(table: str) -> str:
    """Which values Redis did not take, and why."""
    return f"reactive_demo:aside:{table}"


def load_key(table: str, key: str) -> str:
    """Who loads that row now, so that others wait."""
    return f"reactive_demo:load:{table}:{key}"


def stream_key(table: str) -> str:
    """What write-behind has still to write into the database."""
    return f"reactive_demo:behind:{table}"
