"""All who watch: one subscription of the cache for the whole process, however many they are.

A channel is subscribed when the first viewer of a name comes, and read then, as Redis Pub/Sub
tells only those who are there. While the connection lives, nothing published on it is lost: a PING
now and then proves that it does. When it is made again, all is read again. So a viewer costs no
command at all, and a name two.
"""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.asyncio.client import PubSub

from reactive_demo.tutorial.web.events import event, event_of_message
from reactive_demo.tutorial.web.reader import Reader
from reactive_demo.tutorial.web.sse_client import SseClient

__all__ = ["Hub"]

log = logging.getLogger(__name__)

PING = 5.0
"""Seconds between two signs of life on the subscription."""

DEAD = 10.0
"""Seconds without any after which it is given up, and made again."""

RETRY = 0.5
"""Seconds between two attempts to reach Redis."""

TICK = 1.0
"""Seconds between two looks for viewers who need a heartbeat."""

OWN_CHANNEL = "reactive_demo:web"
"""Nothing is published there: it keeps the connection a subscription when nobody watches."""


class Topic:
    """One name, its last event, and who watches it."""

    def __init__(self) -> None:
        self.viewers: set[SseClient] = set()
        self.heard = 0
        """How many changes were heard: what was read before one of them is old."""
        self._last: bytes | None = None
        self._told: bytes | None = None
        self._resting = False

    def join(self, viewer: SseClient) -> None:
        """Show `viewer` the last event, if there is one, and those that come."""
        self.viewers.add(viewer)
        if self._last is not None:
            viewer.show(self._last)

    def tell(self, event: bytes) -> None:
        """Show everybody `event`, unless it is what they saw last.

        A round takes time. As much is left to others before the next, which brings the last of
        what was heard meanwhile: a thousand viewers of a busy name do not stop the server.
        """
        self._last = event
        if self._resting or event == self._told:
            return
        self._told = event
        begun = time.monotonic()
        for viewer in self.viewers:
            viewer.show(event)
        self._resting = True
        asyncio.get_running_loop().call_later(time.monotonic() - begun, self._rested)

    def _rested(self) -> None:
        self._resting = False
        if self._last is not None:
            self.tell(self._last)


class Hub:
    """Who watches which row of the cache. For one thread: the loop's."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._topics: dict[str, Topic] = {}
        self._followed: set[str] = set()
        self._changed = asyncio.Event()
        self._unread: set[str] = set()
        self._to_read = asyncio.Event()

    @contextmanager
    def watching(self, username: str, viewer: SseClient) -> Iterator[None]:
        """Show `viewer` the row as it is now, and whenever it changes."""
        channel = self._reader.channel(username)
        topic = self._topics.get(channel)
        if topic is None:
            topic = self._topics[channel] = Topic()
            if channel in self._followed:  # who watched it before has just left
                self._read_soon(channel)
            self._changed.set()
        topic.join(viewer)
        try:
            yield
        finally:
            topic.viewers.discard(viewer)
            if not topic.viewers and self._topics.get(channel) is topic:
                del self._topics[channel]
                self._changed.set()

    def end_all(self) -> None:
        """Let every stream end."""
        for topic in list(self._topics.values()):
            for viewer in list(topic.viewers):
                viewer.end()

    async def run(self) -> None:
        """Follow the cache until cancelled, through every loss of Redis."""
        while not _cancelled():
            try:
                async with self._reader.subscription() as pubsub:
                    await self._follow(pubsub)
            except (redis.RedisError, OSError) as error:
                log.info("Redis does not answer: %s", error)
            except Exception:  # streams that stood still would look alive
                log.exception("the subscription failed, and begins again")
            if not _cancelled():
                await asyncio.sleep(RETRY)

    async def beat(self) -> None:
        """See to it that nobody hears nothing for too long, until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            for topic in list(self._topics.values()):
                for viewer in list(topic.viewers):
                    viewer.beat(now)

    # The subscription

    async def _follow(self, pubsub: PubSub) -> None:
        self._followed.clear()
        await pubsub.subscribe(OWN_CHANNEL)
        if _cancelled():
            return
        works = (self._subscribe(pubsub), self._hear(pubsub), self._read())
        tasks = [asyncio.create_task(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _subscribe(self, pubsub: PubSub) -> None:
        """Keep the subscription to what is watched, and ask for a sign of life."""
        self._changed.set()
        while not _cancelled():
            try:
                async with asyncio.timeout(PING):
                    await self._changed.wait()
            except TimeoutError:
                await pubsub.ping()
                continue
            self._changed.clear()
            wanted, followed = set(self._topics), self._followed
            self._followed = wanted & followed
            if gone := followed - wanted:
                await pubsub.unsubscribe(*gone)
            if new := wanted - followed:
                await pubsub.subscribe(*new)
            self._followed = wanted

    async def _hear(self, pubsub: PubSub) -> None:
        while not _cancelled():
            message = await pubsub.get_message(timeout=DEAD)
            if message is None:
                raise redis.ConnectionError("it is silent")
            channel = message["channel"]
            if message["type"] == "subscribe":  # from now on nothing is missed
                self._read_soon(channel)
            elif message["type"] == "message" and (topic := self._topics.get(channel)):
                try:
                    told = event_of_message(message["data"])
                except ValueError as error:
                    log.debug("%s: %s", channel, error)
                    self._read_soon(channel)
                else:
                    topic.heard += 1
                    topic.tell(told)

    def _read_soon(self, channel: str) -> None:
        self._unread.add(channel)
        self._to_read.set()

    async def _read(self) -> None:
        """Read what may have changed unheard: all of it at once."""
        while not _cancelled():
            await self._to_read.wait()
            self._to_read.clear()
            heard = {
                channel: topic.heard
                for channel in self._unread
                if (topic := self._topics.get(channel))
            }
            self._unread.clear()
            for channel, (row, version) in (await self._reader.read(list(heard))).items():
                topic = self._topics.get(channel)
                if topic and topic.heard == heard[channel]:
                    topic.tell(event(row, version))


def _cancelled() -> bool:
    """Whether this task is to end: `wait_for`, in redis-py, may swallow it before Python 3.12."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
