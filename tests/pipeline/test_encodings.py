"""A database that cannot write every name: what it cannot write has no row, anywhere."""

import pytest

from reactive_demo import Cache, ChangeTableFeed, Listener, Profiles, ReadThrough, Stack, install
from reactive_demo.errors import RefusedError
from reactive_demo.tools.audit import audit
from tools.databases import new_database


def test_what_the_encoding_cannot_write_has_no_row(stack: Stack, cache: Cache) -> None:
    options = "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
    with new_database(stack, "latin_names", options) as latin:
        install(latin)
        follow(latin, cache)


def follow(latin: str, cache: Cache) -> None:
    """Write, read and compare a row that it can write, and one that it cannot."""
    with (
        Profiles(latin) as profiles,
        ReadThrough(latin, cache) as rows,
        Listener(ChangeTableFeed(latin), cache) as listener,
    ):
        listener.wait_until("live")
        cache.wait_for("zoë", profiles.increment("zoë", "likes"))
        assert cache.get("zoë")["username"] == "zoë"
        assert rows.get("zoë")["likes_count"] == 1
        assert rows.get("日本") is None
        assert profiles.get("日本") is None
        with pytest.raises(RefusedError, match="cannot write"):
            profiles.increment("日本", "likes")
        cache._redis.hset("profile:日本", mapping={"row": "{}", "version": "1:1"})
        assert [wrong.key for wrong in audit(latin, cache, again=()).wrong] == ["日本"]
        listener.check()
