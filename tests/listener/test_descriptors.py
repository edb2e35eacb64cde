"""A process that has run out of file descriptors waits, and does not burn or flood."""

import subprocess
import sys

import psycopg

STARVED = """
import logging, os, resource, sys, time
from reactive_demo import Cache, ChangeTableFeed, Listener, Options

logging.basicConfig(level=logging.INFO)
_, database_url, redis_url = sys.argv
cache, told = Cache(redis_url, poll_interval=0.1), []
options = Options(heartbeat=0.1)
with Listener(ChangeTableFeed(database_url, options=options), cache) as listener:
    listener.wait_until("live")
    subscription = cache.subscribe("ada", told.append)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    taken = []
    try:
        while True:
            taken.append(os.open(os.devnull, os.O_RDONLY))
    except OSError:
        pass
    if sys.stdin.readline() == "lose everything\\n":  # it cannot connect again
        cache._redis.connection_pool.disconnect()
    before = time.process_time()
    time.sleep(3)
    print(time.process_time() - before, flush=True)
    sys.stdin.readline()
    for descriptor in taken:
        os.close(descriptor)
    listener.wait_until("live")
    while not (told and told[-1]):
        time.sleep(0.01)
    subscription.close()
"""


def test_a_listener_out_of_descriptors_neither_spins_nor_floods_the_log(
    database: str, valkey_url: str, connection: psycopg.Connection
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STARVED, database, valkey_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdin.write("lose everything\n")
    process.stdin.flush()
    burnt = float(process.stdout.readline())
    connection.execute("SELECT reactive.increment('ada', 'likes')")
    _, logged = process.communicate("go on\n", timeout=60)
    assert process.returncode == 0, logged
    assert burnt < 1, "of the three seconds"
    assert len(logged) < 20_000, logged[:2_000]
