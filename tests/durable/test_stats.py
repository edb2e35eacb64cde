"""What a listener of the durable feed tells of itself."""

from collections.abc import Callable

from reactive_demo import Cache, Listener, Profiles
from reactive_demo.tutorial.checks import cache_follows, until

Listen = Callable[..., Listener]


def test_it_counts_how_often_it_had_to_catch_up(
    database: str, cache: Cache, listen: Listen
) -> None:
    with Profiles(database) as profiles:
        first = listen(database, cache)
        profiles.increment("ada", "likes")
        cache_follows(profiles, cache, "ada")
        until("all is counted", lambda: first.stats.applied == 1)
        assert first.stats.catch_ups == 1, "it filled the cache"
        first.stop()

        missed_nothing = listen(database, cache)
        assert missed_nothing.stats.catch_ups == 0
        missed_nothing.stop()

        profiles.increment("ada", "likes")
        second = listen(database, cache)
        until("it has caught up", lambda: second.stats.applied == 1)
        for n in (2, 3):
            cache.wait_for("ada", profiles.increment("ada", "likes"))
            until("it goes on", lambda n=n: second.stats.applied == n)
        assert second.stats.catch_ups == 1
        for hop in (second.stats.announce, second.stats.apply, second.stats.latency):
            assert hop.last is not None
            assert 0 <= hop.last < 60
