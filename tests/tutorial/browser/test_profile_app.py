"""The page of the profile app, in a real browser: what two people see."""

import os
import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis
from playwright.sync_api import Browser, BrowserContext, Page, expect

from reactive_demo import Stack
from tools.databases import new_database
from tools.haproxy import haproxy
from tools.waiting import until
from tools.web import ask

SLOW = 40_000
"""Milliseconds in which something happens on a busy machine."""


WITHOUT_WORKER = "delete window.SharedWorker"
WITHOUT_LOCKS = "delete Navigator.prototype.locks"

WAYS = {
    "a worker": "",
    "a leader": WITHOUT_WORKER,
    "each tab": f"{WITHOUT_WORKER}; {WITHOUT_LOCKS}",
    "a worker that is refused": "window.SharedWorker = function () { throw Error('no') }",
}
"""How tabs come by their stream, and what a browser lacks for that."""


class Served:
    """`reactive-demo serve`, in a process of its own, which can be killed and started again."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self._environ = {**os.environ, "DATABASE_URL": database_url, "REDIS_URL": redis_url}
        self.port = 0
        self.start()

    def twin(self) -> "Served":
        return Served(self._environ["DATABASE_URL"], self._environ["REDIS_URL"])

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "reactive_demo", "serve", "--port", str(self.port)],
            env=self._environ,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(re.search(r":(\d+)/$", self.process.stdout.readline())[1])

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.communicate(timeout=20)


@pytest.fixture(scope="module")
def served(stack: Stack) -> Iterator[Served]:
    with new_database(stack, "page") as database_url:
        server = Served(database_url, stack.redis_url)
        yield server
        server.end()


@pytest.fixture
def second(served: Served) -> Iterator[Served]:
    """Another process beside it."""
    server = served.twin()
    yield server
    server.end()


@pytest.fixture
def proxied(served: Served, second: Served, proxy_program: str, folder: Path) -> Iterator[int]:
    """The port of a proxy before both."""
    with haproxy(proxy_program, [served.port, second.port], folder) as port:
        yield port


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A person's browser, which must have nothing to complain of."""
    context = browser.new_context(viewport={"width": 700, "height": 700})
    yield context
    context.close()


@pytest.fixture
def visit(context: BrowserContext, served: Served) -> Callable[..., Page]:
    def visit(username: str, state: str = "live") -> Page:
        page = context.new_page()
        page.goto(f"http://127.0.0.1:{served.port}/?username={username}")
        expect(page.locator(".rd-state")).to_have_text(state, timeout=SLOW)
        return page

    return visit


def shows(page: Page, counter: str, number: int) -> None:
    label = page.locator(f".rd-count-{counter.lower()}")
    expect(label).to_have_text(str(number), timeout=SLOW)


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name).click()


def test_a_click_in_one_window_moves_the_number_in_both(visit: Callable[..., Page]) -> None:
    pages = [visit("two"), visit("two")]
    for number, counter in enumerate(("Followings", "Followers", "Likes")):
        press(pages[number % 2], f"+ {counter}")
        for page in pages:
            shows(page, counter, 1)
    expect(pages[0].locator(".rd-error")).to_be_hidden()


def test_the_fast_button_ends_both_windows_on_the_right_number(visit: Callable[..., Page]) -> None:
    pages = [visit("fast"), visit("fast")]
    press(pages[0], "Fast: 1,000 likes")
    for page in pages:
        shows(page, "Likes", 1000)
    words = pages[0].locator(".rd-words")
    expect(words).to_contain_text("1,000 of 1,000 written")


def test_the_fast_button_stops_when_it_is_pressed_again(visit: Callable[..., Page]) -> None:
    page = visit("stop")
    press(page, "Fast: 1,000 likes")
    press(page, "Stop")
    expect(page.get_by_role("button", name="Fast: 1,000 likes")).to_be_visible(timeout=SLOW)
    done = int(re.match(r"[\d,]+", page.locator(".rd-words").inner_text())[0].replace(",", ""))
    shows(page, "Likes", done)


def test_offline_is_told_and_what_was_missed_is_there_when_it_is_back(
    visit: Callable[..., Page], browser: Browser, served: Served, context: BrowserContext
) -> None:
    """The stream in the page itself: what a worker does, Playwright cannot take offline."""
    context.add_init_script(WITHOUT_WORKER)
    page = visit("offline")
    press(page, "+ Likes")
    shows(page, "Likes", 1)
    page.context.set_offline(True)
    expect(page.locator(".rd-state")).to_have_text("connection lost", timeout=SLOW)
    press(page, "+ Likes")
    expect(page.get_by_role("alert")).to_have_text("The server does not answer.")
    with browser.new_context() as elsewhere:
        other = elsewhere.new_page()
        other.goto(f"http://127.0.0.1:{served.port}/?username=offline")
        press(other, "+ Likes")
        shows(other, "Likes", 2)
    shows(page, "Likes", 1)
    page.context.set_offline(False)
    expect(page.locator(".rd-state")).to_have_text("live", timeout=SLOW)
    shows(page, "Likes", 2)


def test_the_page_recovers_by_itself_when_the_server_was_killed(
    visit: Callable[..., Page], served: Served
) -> None:
    page = visit("killed")
    press(page, "+ Likes")
    shows(page, "Likes", 1)
    served.end(signal.SIGKILL)
    expect(page.locator(".rd-state")).to_have_text("connection lost", timeout=SLOW)
    served.start()
    expect(page.locator(".rd-state")).to_have_text("live", timeout=SLOW)
    press(page, "+ Likes")
    shows(page, "Likes", 2)


def test_it_works_by_keyboard_and_is_told_to_screen_readers(visit: Callable[..., Page]) -> None:
    page = visit("keys")
    for name in ("+ Followings", "+ Followers", "+ Likes"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=name)).to_be_focused()
        page.keyboard.press("Enter")
    spoken = page.locator("[aria-live=polite]")
    expect(spoken).to_have_text("1 followings, 1 followers, 1 likes", timeout=SLOW)
    expect(page.get_by_role("status").first).to_have_text("live")


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=alert(1)>", "</h1><script>1</script>", "a&amp;b"]
)
def test_a_name_is_never_html(
    visit: Callable[..., Page], context: BrowserContext, name: str
) -> None:
    complaints: list[str] = []
    context.on("dialog", lambda dialog: complaints.append(dialog.message))
    context.on("console", lambda message: complaints.append(message.text))
    page = visit("".join(f"%{byte:02x}" for byte in name.encode()))
    expect(page.get_by_role("heading")).to_have_text(f"@{name}")
    press(page, "+ Likes")
    shows(page, "Likes", 1)
    assert page.locator("main img, main script").count() == 0
    assert complaints == []


def streams(served: Served) -> int:
    """How many streams are open."""
    return int(ask(served.port, "GET", "/healthz").json["streams"])


@pytest.mark.parametrize("way", WAYS)
def test_every_tab_is_live_and_they_share_one_stream(
    visit: Callable[..., Page], served: Served, context: BrowserContext, way: str
) -> None:
    """A browser opens six connections to a server: with a stream each, the seventh tab waits."""
    context.add_init_script(WAYS[way])
    number = 4 if way == "each tab" else 7
    names = [f"{way} {n}" for n in range(number - 1)]
    pages = [visit(name) for name in [*names, names[0]]]
    for page in pages[:-1]:
        press(page, "+ Likes")
    for page in pages:
        shows(page, "Likes", 1)
        expect(page.locator(".rd-error")).to_be_hidden()
    wanted = number if way == "each tab" else 1
    until("they share one stream", lambda: streams(served) == wanted)


@pytest.mark.parametrize("way", list(WAYS)[:2])
def test_tabs_come_and_go_and_the_stream_ends_with_the_last(
    visit: Callable[..., Page], served: Served, context: BrowserContext, way: str
) -> None:
    """The first tab, which leads where there is no worker, is the first to go."""
    context.add_init_script(WAYS[way])
    until("there is no stream", lambda: streams(served) == 0)
    pages = [visit(f"go {way} {n}") for n in range(3)]
    pages.pop(0).close()
    pages.append(visit(f"go {way} 3"))
    pages[0].reload()
    for page in pages:
        press(page, "+ Likes")
        shows(page, "Likes", 1)
    pages.pop(1).close()
    for page in pages:
        press(page, "+ Likes")
        shows(page, "Likes", 2)
        page.close()
    until("the stream has ended", lambda: streams(served) == 0)


@pytest.mark.long
@pytest.mark.parametrize("way", list(WAYS)[:2])
def test_seven_tabs_recover_when_the_server_was_killed(
    visit: Callable[..., Page], served: Served, context: BrowserContext, way: str
) -> None:
    context.add_init_script(WAYS[way])
    pages = [visit(f"seven {way} {n}") for n in range(7)]
    served.end(signal.SIGKILL)
    for page in pages:
        expect(page.locator(".rd-state")).to_have_text("connection lost", timeout=SLOW)
    served.start()
    for page in pages:
        expect(page.locator(".rd-state")).to_have_text("live", timeout=SLOW)
        press(page, "+ Likes")
        shows(page, "Likes", 1)


@pytest.mark.long
@pytest.mark.parametrize("way", list(WAYS)[:2])
def test_seven_tabs_behind_a_proxy_go_on_when_one_of_two_processes_is_killed(
    served: Served, second: Served, proxied: int, context: BrowserContext, way: str
) -> None:
    context.add_init_script(WAYS[way])
    pages = [context.new_page() for _ in range(7)]
    for number, page in enumerate(pages):
        page.goto(f"http://127.0.0.1:{proxied}/?username=proxy {way} {number}")
        expect(page.locator(".rd-state")).to_have_text("live", timeout=SLOW)
    both = (served, second)
    until("they share one stream", lambda: sum(map(streams, both)) == 1, SLOW / 1000)
    following, other = sorted(both, key=streams, reverse=True)
    following.end(signal.SIGKILL)
    until("the other has the stream", lambda: streams(other) == 1, SLOW / 1000)
    for page in pages:
        expect(page.locator(".rd-state")).to_have_text("live", timeout=SLOW)
        press(page, "+ Likes")
        shows(page, "Likes", 1)
    following.start()


def test_a_page_that_went_back_is_live_again(visit: Callable[..., Page]) -> None:
    page = visit("back")
    page.get_by_label("Profile").fill("forth")
    press(page, "Show")
    expect(page.get_by_role("heading")).to_have_text("@forth")
    page.go_back()
    expect(page.get_by_role("heading")).to_have_text("@back")
    press(page, "+ Likes")
    shows(page, "Likes", 1)


def test_a_name_that_no_profile_can_have_disturbs_no_other_tab(
    visit: Callable[..., Page], context: BrowserContext, served: Served
) -> None:
    page = visit("well")
    for name in ("%00", "x" * 51):
        wrong = context.new_page()
        wrong.goto(f"http://127.0.0.1:{served.port}/?username={name}")
        expect(wrong.get_by_role("alert")).to_contain_text("A username has")
    visit("as well")
    press(page, "+ Likes")
    shows(page, "Likes", 1)


def test_counters_show_all_their_digits(visit: Callable[..., Page], stack: Stack) -> None:
    page = visit("digits")
    with redis.Redis.from_url(stack.redis_url) as client:
        row = '{"username": "1e5 \\" 7", "likes_count": 9007199254740993, "more": [-1.5e400, {}]}'
        client.hset("profile:digits", mapping={"row": row, "version": "1:9007199254740993"})
        client.publish("profile:digits", "look")
        expect(page.locator(".rd-count-likes")).to_have_text("9007199254740993")
        client.delete("profile:digits")


PATH = b" /user/ada/proxy/8000/"


class PathProxy(socketserver.BaseRequestHandler):
    """Takes a path off, as JupyterHub's proxy does."""

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.port)) as app:
            answers = threading.Thread(target=pump, args=(app, self.request, lambda data: data))
            answers.start()
            pump(self.request, app, lambda data: data.replace(PATH, b" /"))
            answers.join()


def pump(source: socket.socket, sink: socket.socket, change: Callable[[bytes], bytes]) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(change(data))
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def path_proxy(served: Served) -> Iterator[str]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), PathProxy) as server:
        server.daemon_threads, server.block_on_close = True, False
        server.port = served.port
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}{PATH.decode().strip()}"
        server.shutdown()


@pytest.mark.parametrize("way", list(WAYS)[:2])
def test_behind_a_proxy_path_it_works_as_well(
    context: BrowserContext, served: Served, path_proxy: str, way: str
) -> None:
    """All addresses are relative: a proxy may put any path before them."""
    context.add_init_script(WAYS[way])
    until("there is no stream", lambda: streams(served) == 0)
    for number in range(2):
        page = context.new_page()
        page.goto(f"{path_proxy}?username=proxied {way} {number}")
        expect(page.locator(".rd-state")).to_have_text("live", timeout=SLOW)
        press(page, "+ Followers")
        shows(page, "Followers", 1)
    until("they share one stream", lambda: streams(served) == 1)
