"""Where it is measured: a database and a cache of the lab's own, and what was found so far."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Self

from IPython import get_ipython
from IPython.display import DisplayHandle

from reactive_demo.redis_cache.client import open_redis
from reactive_demo.servers import Stack
from reactive_demo.tutorial.bench.followers import ARTICLE, following
from reactive_demo.tutorial.bench.places import Places
from reactive_demo.tutorial.bench.probe import Probe
from reactive_demo.tutorial.chapter_setup import forget
from reactive_demo.tutorial.limits.picture import NOTHING, Panel, Picture
from reactive_demo.tutorial.reruns import close_previous

__all__ = ["LimitsLab", "Say"]

ABSENT, MISSING = -1, {"likes_count": -2}
"""In the place of the likes of a row that need not be in the cache, and of one that should be."""

Say = Callable[[str], None]


class LimitsLab:
    """A database of its own, in which each way is installed in turn and measured.

    `seconds` is how long each point of a curve takes; more is more exact. In a notebook, one line
    says how far a measurement is; `say` takes it elsewhere.
    """

    def __init__(self, stack: Stack, seconds: int = 1, say: Say | None = None) -> None:
        self._open = ExitStack()
        close_previous("limits lab", self)
        self.stack = stack
        self.seconds = seconds
        self._say = say or Line()
        self._done = self._steps = 0
        self.pictures: dict[str, Picture] = {}
        """What was measured, by name."""
        self.wrong: dict[str, int] = {}
        """For each way, how many cached rows differed from the table after the writers' flood."""
        self.places = self._open.enter_context(Places.make(stack))

    def begin(self, steps: int) -> None:
        """Begin a measurement of so many steps."""
        self._done, self._steps = 0, steps

    def step(self, sentence: str) -> None:
        """Say what is measured now."""
        self._done += 1
        self._say(f"{self._done} of {self._steps}: {sentence}")

    def keep(self, name: str, *panels: Panel) -> Picture:
        """Keep a picture of these panels under its name, and return it."""
        self._say(f"measured at {self._steps} points")
        self.pictures[name] = picture = Picture(*panels)
        return picture

    @contextmanager
    def following(self, way: str) -> Iterator[None]:
        """Install a way, and have its follower fill an empty cache, in a process of its own."""
        forget(self.places.cache.redis_url, self.places.cache.table)
        if way == NOTHING:
            self.places.bare()
            yield
            return
        self.places.prepare(way)
        with following(self.places, way):
            yield

    def compare(self, way: str) -> None:
        """Wait until what was written has arrived, and count the rows that are wrong."""
        Probe(self.places, way, 0).take()  # changes arrive in order, so those before it have, too
        rows = self.places.database.execute(
            "SELECT username, likes_count FROM public.profile WHERE username LIKE 'user%'"
        ).fetchall()
        cached = self._cached(way, [name for name, _ in rows])
        self.wrong[way] = sum(
            likes != found
            for (_, likes), found in zip(rows, cached, strict=True)
            if found != ABSENT
        )

    def close(self) -> None:
        """Remove the database and what the cache holds."""
        self._open.close()

    def _cached(self, way: str, names: list[str]) -> list[int]:
        """Return the likes in the cache; the article's has only what changed since it was empty."""
        cache = self.places.cache
        if way != ARTICLE:
            return [(row or MISSING)["likes_count"] for row in cache.get_many(names).values()]
        with open_redis(cache.redis_url) as client:
            texts = client.mget([cache.redis_key(name) for name in names])
        return [json.loads(text)["likes_count"] if text else ABSENT for text in texts]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Line:
    """One line below a notebook's cell, which each sentence overwrites; elsewhere it prints."""

    def __init__(self) -> None:
        self._cell = 0
        self._handle: Any = None

    def __call__(self, sentence: str) -> None:
        """Say how far it is."""
        if (shell := get_ipython()) is None:
            print(sentence, flush=True)  # noqa: T201
        elif shell.execution_count == self._cell:
            self._handle.update({"text/plain": sentence}, raw=True)
        else:
            self._cell = shell.execution_count
            self._handle = DisplayHandle()  # type: ignore[no-untyped-call]
            self._handle.display({"text/plain": sentence}, raw=True)
