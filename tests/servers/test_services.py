"""What ends a service: a signal, whenever it comes."""

import subprocess
import sys

SIGNALLED = """
import os, random, signal, threading, time
from reactive_demo.tools.services import EndEvent

def end(delay):
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGTERM)

for number in range(500):
    event = EndEvent()
    threading.Thread(target=end, args=[random.Random(number).uniform(0, 0.001)]).start()
    event.wait()
event.wait()  # it stays set
event = EndEvent()
threading.Thread(target=event.set).start()
event.wait()
print("ended each time")
"""


def test_a_signal_ends_it_whenever_it_comes() -> None:
    words = [sys.executable, "-c", SIGNALLED]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("ended each time\n", "")
