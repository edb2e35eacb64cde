"""In a real kernel: a burst of thousands of changes is a handful of messages to the browser."""

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME
from jupyter_client.manager import start_new_kernel

from tools.waiting import until

STAGE = """
from reactive_demo import BurstButton, Cache, Listener, NotifyFeed, ProfileCard, Profiles
from reactive_demo.waiting import wait_until
profiles, cache = Profiles({database_url!r}), Cache({redis_url!r})
listener = Listener(NotifyFeed({database_url!r}), cache, takeover=True).start()
listener.wait_until("live")
card = ProfileCard(profiles, cache, "ada", listener)
burst = BurstButton(profiles, "ada", count=1000)
ids = dict(
    {{name: label.model_id for name, label in card.labels.items()}},
    button=card.buttons["likes"].model_id,
    burst=burst.button.model_id,
    words=burst.words.model_id,
)
wait_until("the row's absence is read", lambda: not cache.get("ada"))
"""


class Notebook:
    """A kernel, and what it sent to the browser."""

    def __init__(self) -> None:
        self.manager, self.client = start_new_kernel(kernel_name=NATIVE_KERNEL_NAME)
        self.values: defaultdict[str, list[tuple[float, Any]]] = defaultdict(list)
        self.moments: list[float] = []
        self.frames: list[dict[str, Any]] = []
        self.streams: list[str] = []

    def run(self, code: str, expression: str = "None") -> Any:
        """Run a cell; the value of an expression after it."""
        sent = self.client.execute(
            code, user_expressions={"it": f"__import__('json').dumps({expression})"}
        )
        reply = self.client.get_shell_msg(timeout=60)
        while reply["parent_header"]["msg_id"] != sent:
            reply = self.client.get_shell_msg(timeout=60)
        content = reply["content"]
        assert content["status"] == "ok", "\n".join(content.get("traceback", []))
        text = content["user_expressions"]["it"]["data"]["text/plain"]
        return json.loads(eval(text))

    def click(self, model_id: str) -> None:
        """Click as a browser does: a message to the kernel."""
        data = {"method": "custom", "content": {"event": "click"}}
        message = self.client.session.msg("comm_msg", {"comm_id": model_id, "data": data})
        self.client.shell_channel.send(message)

    def shows(self, model_id: str, value: str) -> bool:
        """Whether the browser has been told that the widget's value is this now."""
        self.listen()
        return [value] == [shown for _, shown in self.values[model_id][-1:]]

    def listen(self) -> None:
        """Take what the browser has been sent."""
        while self.client.iopub_channel.msg_ready():
            message = self.client.get_iopub_msg(timeout=5)
            if message["msg_type"] == "comm_msg":
                self._note(message)
            elif message["msg_type"] in {"stream", "error"}:
                self.streams.append(str(message["content"]))

    def _note(self, message: dict[str, Any]) -> None:
        content, moment = message["content"], message["header"]["date"].timestamp()
        state = content["data"].get("state", {})
        self.moments.append(moment)
        if "value" in state:
            self.values[content["comm_id"]].append((moment, state["value"]))
        if "frame" in state:
            self.frames.append(state["frame"])

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=False)


@pytest.fixture
def notebook() -> Iterator[Notebook]:
    kernel = Notebook()
    yield kernel
    kernel.close()


def most_in_a_second(moments: list[float]) -> int:
    return max(sum(1 for m in moments if 0 <= m - start < 1) for start in moments)


def test_a_burst_of_1000_is_20_messages_a_second_at_most_and_the_last_is_right(
    notebook: Notebook, database: str, valkey_url: str
) -> None:
    ids = notebook.run(STAGE.format(database_url=database, redis_url=valkey_url), "ids")
    notebook.click(ids["button"])
    until("the browser shows the click", lambda: notebook.shows(ids["likes"], "1"), timeout=20)

    notebook.click(ids["burst"])
    until("the browser shows the end", lambda: notebook.shows(ids["likes"], "1001"), timeout=60)
    until(
        "the browser is told that all is committed",
        lambda: notebook.shows(ids["words"], "1,000 of 1,000 committed"),
    )
    for model_id, painted in notebook.values.items():
        assert most_in_a_second([moment for moment, _ in painted]) <= 20, model_id
    assert len(notebook.values[ids["likes"]]) > 3, "the number is seen to run"
    shown = [int(value) for _, value in notebook.values[ids["likes"]] if value.isdigit()]
    assert shown == sorted(shown)

    assert notebook.run("listener.stop(); card.close()", "str(listener.state)") == "stopped"
    assert notebook.streams == []


def test_a_click_while_a_cell_is_busy_is_carried_out(
    notebook: Notebook, database: str, valkey_url: str
) -> None:
    ids = notebook.run(STAGE.format(database_url=database, redis_url=valkey_url), "ids")
    notebook.client.execute("import threading; threading.Event().wait(1)")
    notebook.click(ids["button"])
    until("the browser shows the click", lambda: notebook.shows(ids["likes"], "1"), timeout=20)
    notebook.run("listener.stop()")
    assert notebook.streams == []


FLOW = """
from reactive_demo import Cache, ChangeTableFeed, FlowView, LiveLabel, Listener, Profiles, install
from reactive_demo.waiting import wait_until
install({database_url!r})
cache = Cache({redis_url!r})
listener = Listener(ChangeTableFeed({database_url!r}), cache, takeover=True).start()
listener.wait_until("live")
flow, label = FlowView(listener), LiveLabel(cache, "ada", "likes_count")
wait_until("the row's absence is read", lambda: not cache.get("ada"))
"""

FLOOD = """
    DO $$ BEGIN
        FOR n IN 1..{writes} LOOP
            PERFORM reactive.increment('ada', 'likes');
            PERFORM reactive.increment('user ' || m, 'likes') FROM generate_series(1, 4) m;
            COMMIT;
        END LOOP;
    END $$
"""
"""Transactions of five updates each, as fast as one client can."""

WRITES = 4_000


def test_a_flow_view_and_its_label_are_20_messages_a_second_however_many_updates_pass(
    notebook: Notebook, database: str, valkey_url: str
) -> None:
    notebook.run(FLOW.format(database_url=database, redis_url=valkey_url))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(FLOOD.format(writes=WRITES).encode())
    label = notebook.run("", "label.model_id")
    until("the label shows the last", lambda: notebook.shows(label, str(WRITES)), timeout=30)
    notebook.run('wait_until("nothing is left", lambda: not flow.due)')
    notebook.listen()
    assert most_in_a_second(notebook.moments) <= 20
    dots = [dot for frame in notebook.frames for dot in frame["dots"]]
    counts = notebook.frames[-1]["counts"]
    applied = notebook.run("listener.stop()", "listener.stats.applied")
    assert sum(dot["applied"] for dot in dots) == counts["dots"] + counts["grouped"] == applied
    assert counts["grouped"] > 0
    assert notebook.streams == []
