"""All open streams of the process, fed by one subscription to the cache and one slow poll.

What a stream shows is always what the cache holds: a message on a row's channel is only a hint to
read the row again. Anyone may publish, Redis's Pub/Sub knows no database numbers, and it reaches
only those who are subscribed already. The poll finds what no message told: where one was lost, or
where this account may read the keys and not the channels.

A client costs no Redis command at all. A username costs two, one more at each poll, and one after
each change, all that are due at the same time in one round trip.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager

import redis
from redis.asyncio.client import PubSub

from reactive_demo.changes import into_batches
from reactive_demo.tutorial.web.events import event, named, row_text
from reactive_demo.tutorial.web.options import WebOptions
from reactive_demo.tutorial.web.reader import Cached, Reader
from reactive_demo.tutorial.web.sse_client import SseClient

__all__ = ["Hub"]

log = logging.getLogger(__name__)

NOBODY = "\0"
"""No profile has this name. Its channel, which the same right covers as all others, keeps the
connection subscribed while there are no clients."""

MAX_READS = 500
"""Rows read in one round trip; between two of them, the loop is free for others."""


class Topic:
    """One username: its latest event, and the clients that follow it."""

    def __init__(self, channel: str) -> None:
        self.clients: set[SseClient] = set()
        self._channel = channel
        self._shown: Cached | None = None
        self._latest: bytes | None = None
        self._sent: bytes | None = None
        self._paused = False

    def join(self, client: SseClient) -> None:
        """Send `client` the latest event, if there is one, and all that follow."""
        self.clients.add(client)
        if self._latest is not None:
            self._send(self._latest, [client])

    def show(self, cached: Cached) -> None:
        """Send all clients what the cache holds now, unless they have it."""
        if cached != self._shown:
            self._shown = cached
            row = row_text(cached.row)
            readable = row is not None or cached.row is None
            self._publish(event(row, cached.version if readable else None))

    def _publish(self, event: bytes) -> None:
        """Send `event` to all clients, unless it is the one they got last.

        A round takes time, so leave the loop to others for as long before the next round, which
        then sends the latest event: a thousand clients of a busy username do not stop the server.
        """
        self._latest = event
        if self._paused or event == self._sent:
            return
        self._sent = event
        begun = time.monotonic()
        self._send(event, self.clients)
        self._paused = True
        asyncio.get_running_loop().call_later(time.monotonic() - begun, self._resume)

    def _send(self, event: bytes, clients: "Sequence[SseClient] | set[SseClient]") -> None:
        with_name = named(self._channel, event)
        for client in clients:
            client.send(with_name if client.named else event, self._channel)

    def _resume(self) -> None:
        self._paused = False
        if self._latest is not None:
            self._publish(self._latest)


class Hub:
    """Which client follows which rows of the cache. Use it on the loop's thread only."""

    def __init__(self, reader: Reader, options: WebOptions) -> None:
        self.refused = False
        """Whether Redis refuses to let this account subscribe, so that only the poll is left."""
        self._reader = reader
        self._options = options
        self._own_channel = reader.channel(NOBODY)
        self._topics: dict[str, Topic] = {}
        self._followed: set[str] = set()
        self._changed = asyncio.Event()
        self._unread: set[str] = set()
        self._to_read = asyncio.Event()

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(set().union(*(topic.clients for topic in self._topics.values())))

    @contextmanager
    def following(self, usernames: Sequence[str], client: SseClient) -> Iterator[None]:
        """Send `client` these rows as they are now, and whenever one changes."""
        channels = list(map(self._reader.channel, usernames))
        for channel in channels:
            self._topic(channel).join(client)
        try:
            yield
        finally:
            for channel in channels:
                self._leave(channel, client)

    def end_all(self) -> None:
        """End all streams."""
        for topic in list(self._topics.values()):
            for client in list(topic.clients):
                client.end()

    def duties(self) -> list[Coroutine[None, None, None]]:
        """Return what has to run as long as there are clients."""
        return [self._listen(), self._read(), self._beat()]

    def _topic(self, channel: str) -> Topic:
        topic = self._topics.get(channel)
        if topic is None:
            topic = self._topics[channel] = Topic(channel)
            self._read_soon(channel)
            self._changed.set()
        return topic

    def _leave(self, channel: str, client: SseClient) -> None:
        topic = self._topics[channel]
        topic.clients.discard(client)
        if not topic.clients:
            del self._topics[channel]
            self._changed.set()

    async def _beat(self) -> None:
        """Send heartbeats where they are due, until cancelled."""
        while True:
            await asyncio.sleep(self._options.tick)
            now = time.monotonic()
            for topic in list(self._topics.values()):
                for client in list(topic.clients):
                    client.beat(now)

    # Reading

    def _read_soon(self, channel: str) -> None:
        self._unread.add(channel)
        self._to_read.set()

    async def _read(self) -> None:
        """Read the rows that may have changed, and now and then all, until cancelled."""
        next_poll = time.monotonic() + self._options.poll_interval
        while not _cancelled():
            await _within(next_poll - time.monotonic(), self._to_read)
            if time.monotonic() >= next_poll:
                self._unread.update(self._topics)
                next_poll = time.monotonic() + self._options.poll_interval
            self._to_read.clear()
            due = {name: self._topics[name] for name in self._unread if name in self._topics}
            self._unread.clear()
            try:
                for some in into_batches(due, MAX_READS):
                    for channel, cached in (await self._reader.read(some)).items():
                        # One that was left and came back meanwhile is read once more.
                        if self._topics.get(channel) is due[channel]:
                            due[channel].show(cached)
                continue
            except (redis.RedisError, OSError) as error:
                log.info("Redis does not answer: %s", error)
            except Exception:  # the streams would look alive and stand still
                log.exception("the rows could not be read; trying again")
            self._unread.update(due)
            self._to_read.set()
            if not _cancelled():
                await asyncio.sleep(self._options.retry_pause)

    # The subscription

    async def _listen(self) -> None:
        """Hear which rows changed, until cancelled, however often Redis goes away."""
        while not _cancelled():
            pause = self._options.retry_pause
            try:
                async with self._reader.subscription() as pubsub:
                    await self._follow(pubsub)
            except redis.ResponseError as error:
                if not self.refused:
                    log.warning("Redis refuses SUBSCRIBE, so streams follow by polling: %s", error)
                self.refused = True
                pause = self._options.poll_interval
            except (redis.RedisError, OSError) as error:
                log.info("Redis does not answer: %s", error)
            except Exception:
                log.exception("the subscription failed; making a new one")
            if not _cancelled():
                await asyncio.sleep(pause)

    async def _follow(self, pubsub: PubSub) -> None:
        self._followed.clear()
        await pubsub.subscribe(self._own_channel)
        if _cancelled():
            return
        tasks = [
            asyncio.create_task(duty) for duty in (self._subscribe(pubsub), self._hear(pubsub))
        ]
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
            if not await _within(self._options.ping_interval, self._changed):
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
            if message["type"] == "subscribe" and (channel in self._topics or not self._topics):
                self.refused = False
            if message["type"] in {"subscribe", "message"} and channel in self._topics:
                self._read_soon(channel)  # once subscribed, to hear of what comes after the read


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Wait for `event`, at most so long; return whether it is set."""
    try:
        async with asyncio.timeout(max(0, seconds)):
            return await event.wait()
    except TimeoutError:
        return False


def _cancelled() -> bool:
    """Return whether this task was cancelled.

    Before Python 3.12, `wait_for` in redis-py may swallow the cancellation.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
