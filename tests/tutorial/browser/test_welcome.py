"""Notebook 00, run and clicked as a newcomer would: cards come alive, and changes travel."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tools.lab import run_all
from tools.looks import cut_rings, dark, narrow, overlapping, white, wrapped
from tools.waiting import until

WATCH = """
() => {
    window.seen = []
    window.most = 0
    const dots = document.querySelector('.rd-flow-dots')
    new MutationObserver(changes => changes.forEach(({addedNodes}) => addedNodes.forEach(dot => {
        window.most = Math.max(window.most, dots.childElementCount)
        const way = []
        window.seen.push(way)
        const look = () => {
            if (!dot.isConnected) return
            way.push(dot.getBoundingClientRect().left)
            requestAnimationFrame(look)
        }
        look()
    }))).observe(dots, {childList: true})
}
"""
"""Keep where each dot has been, from first to last, and how many there were at once."""

MOST_DOTS = 60
"""The view's limit, at once."""

FRAMES = """
count => new Promise(done => {
    const next = () => { if (count-- > 0) requestAnimationFrame(next); else done() }
    next()
})
"""
"""Wait until the page has been drawn so many times."""

FLOOD = """
import psycopg
with psycopg.connect(stack.database_url, autocommit=True) as connection:
    connection.execute('''
        DO $$ BEGIN FOR n IN 1..1500 LOOP
            PERFORM reactive.increment('ada', 'likes'), reactive.increment('bob', 'likes'); COMMIT;
        END LOOP; END $$''')
"""


AT_REST = """
from reactive_demo.waiting import wait_until
wait_until("all is shown", lambda: not flow.due)
"""


@pytest.fixture(scope="module")
def page(open_notebook: Callable[..., Page]) -> Page:
    """The notebook, run once from top to bottom."""
    page = open_notebook("00_welcome.ipynb", "welcome")
    run_all(page)
    expect(page.locator(".rd-flow")).to_have_count(1)
    page.evaluate(WATCH)
    return page


def run(page: Page, code: str) -> str:
    """Run code in the page's kernel, beside its cells; how it ended."""
    return str(
        page.evaluate(
            """async code => {
                const {sessionContext} = window.jupyterapp.shell.currentWidget
                const reply = await sessionContext.session.kernel.requestExecute({code}).done
                return reply.content.status
            }""",
            code,
        )
    )


def ways(page: Page) -> list[list[float]]:
    """Where each dot since the beginning has been."""
    return list(page.evaluate("window.seen"))


def at_rest(page: Page) -> None:
    """Wait until no dot is under way, and the view has nothing left to show."""
    assert run(page, AT_REST) == "ok"
    expect(page.locator(".rd-flow-dot")).to_have_count(0, timeout=20_000)


def like(page: Page) -> None:
    page.locator(".rd-card").first.get_by_role("button", name="+ Likes").click()


def counted(page: Page) -> dict[str, int]:
    text = page.locator(".rd-flow-counts").inner_text()
    return {name: int(n.replace(",", "")) for n, name in re.findall(r"([\d,]+) (\w+)", text)}


def test_the_doctor_is_content_and_a_click_moves_both_cards(page: Page) -> None:
    errors = page.locator('[data-mime-type="application/vnd.jupyter.error"]')
    assert errors.all_inner_texts() == []
    expect(page.locator('[data-mime-type="application/vnd.jupyter.stderr"]')).to_have_count(0)
    table = page.locator(".jp-OutputArea-output table").first
    expect(table).to_contain_text("a notification came back")
    expect(table).not_to_contain_text("mend")

    expect(page.locator(".rd-card")).to_have_count(4)
    left, right = page.locator(".rd-card").all()[:2]
    before = int(left.locator(".rd-count-followings").inner_text())
    left.get_by_role("button", name="+ Followings").click()
    for card in (left, right):
        expect(card.locator(".rd-count-followings")).to_have_text(str(before + 1))


def test_a_click_sends_one_dot_the_whole_way(page: Page) -> None:
    at_rest(page)
    before = len(ways(page))
    page.locator(".rd-flow").scroll_into_view_if_needed()
    like(page)
    until("a dot moves", lambda: len(ways(page)) == before + 1)
    at_rest(page)
    (way,) = ways(page)[before:]
    stops = [stop.bounding_box() for stop in page.locator(".rd-flow-stop").all()]
    centres = [stop["x"] + stop["width"] / 2 for stop in stops if stop]
    assert len(centres) == 5
    assert way[-1] - way[0] == pytest.approx(centres[-1] - centres[0], abs=30)
    assert way == sorted(way)
    for figure in page.locator(".rd-flow-last").all():
        expect(figure).to_have_text(re.compile(r"^(<\s)?[\d.]+\sm?s$"))
    wire = page.locator(".rd-flow-wire")
    for words in (
        "NOTIFY reactive_change public.profile",
        "EVALSHA apply.lua profile:ada",
        "value",
    ):
        expect(wire).to_contain_text(words)
    expect(page.locator(".rd-flow-spoken")).to_have_attribute("aria-live", "polite")
    expect(page.locator(".rd-flow-spoken")).to_contain_text("Listener live.", timeout=10_000)


def test_with_reduced_motion_there_are_numbers_and_no_dots(page: Page) -> None:
    at_rest(page)
    before, applied = len(ways(page)), counted(page)["applied"]
    page.emulate_media(reduced_motion="reduce")
    try:
        like(page)
        until("the number moves", lambda: counted(page)["applied"] == applied + 1)
        expect(page.locator(".rd-flow-note")).to_contain_text("no dots move")
        at_rest(page)
        assert len(ways(page)) == before
    finally:
        page.emulate_media(reduced_motion="no-preference")


def test_a_flood_does_not_flood_the_page(page: Page) -> None:
    at_rest(page)
    before, applied = len(ways(page)), counted(page)["applied"]
    flood = f"import threading; threading.Thread(target=exec, args=[{FLOOD!r}, globals()]).start()"
    assert run(page, flood) == "ok"
    until("the flood is here", lambda: len(ways(page)) > before)
    page.evaluate(FRAMES, 10)
    expect(page.locator(".rd-card .rd-count-likes").last).to_have_text(
        re.compile(r"^15\d\d$"), timeout=30_000
    )
    at_rest(page)
    assert counted(page)["applied"] > applied
    assert page.evaluate("window.most") <= MOST_DOTS
    expect(page.locator(".rd-flow-dot-count")).to_contain_text("a number in a dot")


def test_cards_and_flow_are_on_one_screen(page: Page) -> None:
    together = page.locator(".rd-windows", has=page.locator(".rd-flow"))
    expect(together.locator(".rd-card")).to_have_count(2)
    assert together.bounding_box()["height"] < 800
    with narrow(page):
        assert wrapped(together.locator(".rd-flow-last, .rd-flow-median, .rd-number")) == []
        assert overlapping(together.locator(".rd-flow-station > *, .rd-flow-hop > *")) == []
        assert cut_rings(together.get_by_role("button")) == []


def test_the_flow_can_be_read_at_any_width(page: Page) -> None:
    at_rest(page)
    flow = page.locator(".rd-flow")
    flow.locator(".rd-flow-median").evaluate_all(
        "parts => parts.forEach(part => { part.textContent = 'median 150\\u00a0ms' })"
    )
    try:
        for width in range(260, 640, 20):  # beside a page of 700 px, or as wide as the page
            flow.evaluate("(flow, width) => { flow.style.width = `${width}px` }", width)
            words = flow.locator(".rd-flow-station > *, .rd-flow-hop > *")
            assert overlapping(words) == [], width
            assert wrapped(flow.locator(".rd-flow-last, .rd-number")) == [], width
    finally:
        flow.evaluate("flow => { flow.style.width = '' }")


@pytest.mark.parametrize("width", [1300, 700])
def test_no_dot_covers_a_name_or_a_number(page: Page, width: int) -> None:
    at_rest(page)
    with narrow(page, width):
        like(page)
        dot = page.locator(".rd-flow-dot").bounding_box()
        assert dot
        tallest = 20 + 2 * 2  # a dot with a number, and its edge
        middle = dot["y"] + dot["height"] / 2
        for words in page.locator(".rd-flow-picture :is(b, span):visible").all():
            if box := words.bounding_box():
                above = box["y"] + box["height"] <= middle - tallest / 2 + 1
                assert above or box["y"] >= middle + tallest / 2 - 1, words.inner_text()


def test_the_wire_goes_on_after_its_tab_was_hidden(page: Page) -> None:
    panel, before = page.locator(".jp-NotebookPanel"), counted(page)["applied"]
    try:
        for _ in range(2):  # more than fits
            like(page)
            at_rest(page)
        panel.evaluate("panel => { panel.style.display = 'none' }")
        assert run(page, "left.buttons['likes'].click()") == "ok"
        assert run(page, AT_REST) == "ok"
    finally:
        panel.evaluate("panel => { panel.style.display = '' }")
    until("it is applied", lambda: counted(page)["applied"] == before + 3)
    end, last = page.locator(".rd-flow-end"), page.locator(".rd-flow-wire li").last
    frame, line = end.bounding_box(), last.bounding_box()
    assert frame
    assert line
    assert frame["y"] < line["y"] + line["height"] <= frame["y"] + frame["height"]


def test_nothing_is_white_in_the_dark_theme(page: Page) -> None:
    with dark(page):
        for output in page.locator(".jp-OutputArea-output").all():
            assert white(output) == []


def test_with_the_listener_stopped_no_dot_moves(page: Page) -> None:
    at_rest(page)
    before, written = len(ways(page)), counted(page)["written"]
    try:
        assert run(page, "listener.stop()") == "ok"
        expect(page.locator(".rd-flow-state")).to_contain_text("Listener: stopped.")
        like(page)
        until("the write is counted", lambda: counted(page)["written"] == written + 1)
        at_rest(page)
        assert len(ways(page)) == before
    finally:
        assert run(page, "listener = Listener(feed, cache, takeover=True).start()") == "ok"
