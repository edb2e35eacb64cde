"""All open streams of the process, fed by one subscription to the cache.

The hub subscribes to a channel when its first client comes, and then reads the row, because Redis
Pub/Sub reaches only those who are already subscribed. While the connection lives, no message is
lost, and a PING now and then proves that it lives. After a reconnect, everything is read again. So
a client costs no Redis command at all, and a username costs two.
"""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.asyncio.client import PubSub

from reactive_demo.tutorial.web.events import event, event_of_message
from reactive_demo.tutorial.web.options import WebOptions
from reactive_demo.tutorial.web.reader import Reader
from reactive_demo.tutorial.web.sse_client import SseClient

__all__ = ["Hub"]

log = logging.getLogger(__name__)

OWN_CHANNEL = "reactive_demo:web"
"""Nothing is published there; it keeps the connection subscribed while there are no clients."""


class Topic:
    """One username: its latest event, and the clients that follow it."""

    def __init__(self) -> None:
        self.clients: set[SseClient] = set()
        self.heard = 0
        """Changes heard so far: a row that was read before the last of them is out of date."""
        self._latest: bytes | None = None
        self._sent: bytes | None = None
        self._paused = False

    def join(self, client: SseClient) -> None:
        """Send `client` the latest event, if there is one, and all that follow."""
        self.clients.add(client)
        if self._latest is not None:
            client.send(self._latest)

    def publish(self, event: bytes) -> None:
        """Send `event` to all clients, unless it is the one they got last.

        A round takes time, so leave the loop to others for as long before the next round, which
        then sends the latest event: a thousand clients of a busy username do not stop the server.
        """
        self._latest = event
        if self._paused or event == self._sent:
            return
        self._sent = event
        begun = time.monotonic()
        for client in self.clients:
            client.send(event)
        self._paused = True
        asyncio.get_running_loop().call_later(time.monotonic() - begun, self._resume)

    def _resume(self) -> None:
        self._paused = False
        if self._latest is not None:
            self.publish(self._latest)


class Hub:
    """Which client follows which row of the cache. Use it on the loop's thread only."""

    def __init__(self, reader: Reader, options: WebOptions) -> None:
        self._reader = reader
        self._options = options
        self._topics: dict[str, Topic] = {}
        self._followed: set[str] = set()
        self._changed = asyncio.Event()
        self._unread: set[str] = set()
        self._to_read = asyncio.Event()

    @contextmanager
    def following(self, username: str, client: SseClient) -> Iterator[None]:
        """Send `client` the row as it is now, and whenever it changes."""
        channel = self._reader.channel(username)
        topic = self._topics.get(channel)
        if topic is None:
            topic = self._topics[channel] = Topic()
            if channel in self._followed:  # its last client has only just left
                self._read_soon(channel)
            self._changed.set()
        topic.join(client)
        try:
            yield
        finally:
            topic.clients.discard(client)
            if not topic.clients and self._topics.get(channel) is topic:
                del self._topics[channel]
                self._changed.set()

    def end_all(self) -> None:
        """End all streams."""
        for topic in list(self._topics.values()):
            for client in list(topic.clients):
                client.end()

    async def run(self) -> None:
        """Follow the cache until cancelled, however often Redis goes away."""
        while not _cancelled():
            try:
                async with self._reader.subscription() as pubsub:
                    await self._follow(pubsub)
            except (redis.RedisError, OSError) as error:
                log.info("Redis does not answer: %s", error)
            except Exception:  # the streams would look alive and stand still
                log.exception("the subscription failed; making a new one")
            if not _cancelled():
                await asyncio.sleep(self._options.retry_pause)

    async def beat(self) -> None:
        """Send heartbeats where they are due, until cancelled."""
        while True:
            await asyncio.sleep(self._options.tick)
            now = time.monotonic()
            for topic in list(self._topics.values()):
                for client in list(topic.clients):
                    client.beat(now)

    # The subscription

    async def _follow(self, pubsub: PubSub) -> None:
        self._followed.clear()
        await pubsub.subscribe(OWN_CHANNEL)
        if _cancelled():
            return
        duties = (self._subscribe(pubsub), self._hear(pubsub), self._read())
        tasks = [asyncio.create_task(duty) for duty in duties]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _subscribe(self, pubsub: PubSub) -> None:
        """Subscribe to what the clients follow, and ask for a sign of life now and then."""
        self._changed.set()
        while not _cancelled():
            try:
                async with asyncio.timeout(self._options.ping_interval):
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
            message = await pubsub.get_message(timeout=self._options.silence_timeout)
            if message is None:
                raise redis.ConnectionError("the subscription is silent")
            channel = message["channel"]
            if message["type"] == "subscribe":  # nothing is missed from now on
                self._read_soon(channel)
            elif message["type"] == "message" and (topic := self._topics.get(channel)):
                try:
                    change = event_of_message(message["data"])
                except ValueError as error:
                    log.debug("%s: %s", channel, error)
                    self._read_soon(channel)
                else:
                    topic.heard += 1
                    topic.publish(change)

    def _read_soon(self, channel: str) -> None:
        self._unread.add(channel)
        self._to_read.set()

    async def _read(self) -> None:
        """Read the rows that may have changed unheard, all in one round trip."""
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
                    topic.publish(event(row, version))


def _cancelled() -> bool:
    """Return whether this task was cancelled.

    Before Python 3.12, `wait_for` in redis-py may swallow the cancellation.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
