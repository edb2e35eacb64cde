"""What people see: a click writes the database, and the labels follow the cache."""

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any
from xml.etree import ElementTree as ET

import ipywidgets
import psycopg
import pytest

from reactive_demo import (
    BurstButton,
    Cache,
    FlowView,
    Listener,
    LiveLabel,
    ProfileCard,
    Profiles,
    ReactiveDemoError,
    Windows,
)
from reactive_demo.app.profiles import COUNTERS
from reactive_demo.changes import Change
from reactive_demo.errors import ReadOnlyError
from tools.waiting import until

Listen = Callable[..., Listener]

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
HOSTILE = "<script>alert('ada')</script>"


@pytest.fixture(autouse=True)
def closed_widgets() -> Iterator[None]:
    """No widget of one test follows the cache into the next."""
    yield
    ipywidgets.Widget.close_all()


@pytest.fixture
def listener(database: str, cache: Cache, listen: Listen) -> Listener:
    return listen(database, cache)


@pytest.fixture
def card(profiles: Profiles, cache: Cache, listener: Listener) -> ProfileCard:
    return ProfileCard(profiles, cache, "ada", listener)


def numbers(card: ProfileCard) -> tuple[str, ...]:
    return tuple(card.labels[counter].value for counter in COUNTERS)


def followed(cache: Cache) -> int:
    """How many subscriptions this process has."""
    return len(cache._watcher._subscriptions)


def in_another_thread(call: Callable[[], None]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


# Labels


def test_a_label_follows_one_column(cache: Cache) -> None:
    label = LiveLabel(cache, "ada", "likes_count")
    assert label.value == "–"  # noqa: RUF001
    for row, shown in (
        ({"likes_count": 1}, "1"),
        ({"likes_count": 2**60}, str(2**60)),
        ({"followers_count": 1}, "–"),  # noqa: RUF001
        ({"likes_count": 0}, "0"),
        (None, "–"),  # noqa: RUF001
    ):
        cache.put([Change("ada", row)])
        until(f"the label shows {shown}", lambda shown=shown: label.value == shown)


def test_a_closed_label_follows_nothing_and_may_be_closed_again(cache: Cache) -> None:
    label = LiveLabel(cache, "ada", "likes_count")
    assert followed(cache) == 1
    label.close()
    label.close()
    assert followed(cache) == 0


# Cards


def test_a_click_moves_the_number_through_the_whole_pipeline(card: ProfileCard) -> None:
    for counter in COUNTERS:
        card.buttons[counter].click()
    until("each counter shows 1", lambda: numbers(card) == ("1", "1", "1"))
    card.buttons["likes"].click()
    until("likes shows 2", lambda: numbers(card) == ("1", "1", "2"))


def test_buttons_are_found_by_their_words_and_numbers_by_their_classes(card: ProfileCard) -> None:
    assert [card.buttons[counter].description for counter in COUNTERS] == [
        "+ Followings",
        "+ Followers",
        "+ Likes",
    ]
    for counter in COUNTERS:
        assert f"rd-count-{counter}" in card.labels[counter]._dom_classes
    assert "rd-card" in card._dom_classes
    assert "rd-state" in card.state._dom_classes


def test_two_cards_of_one_profile_show_the_same(
    profiles: Profiles, cache: Cache, card: ProfileCard
) -> None:
    other = ProfileCard(profiles, cache, "ada")
    card.buttons["likes"].click()
    until("both show it", lambda: card.labels["likes"].value == other.labels["likes"].value == "1")


def test_a_click_on_any_thread_works_and_only_the_painter_touches_the_card(
    door: Any, cache: Cache, listener: Listener
) -> None:
    door.open()
    card = ProfileCard(Profiles(door.url), cache, "ada", listener)
    painters: set[str] = set()
    for widget in (*card.labels.values(), card.state, card.error):
        widget.observe(lambda _: painters.add(threading.current_thread().name), "value")
    in_another_thread(card.buttons["likes"].click)
    until("the number moves", lambda: card.labels["likes"].value == "1")
    door.shut()
    in_another_thread(card.buttons["likes"].click)
    until("the error is shown", lambda: card.error.value)
    listener.stop()
    until("the state is shown", lambda: card.state.value == "Listener: stopped")
    assert painters == {"reactive_demo paint"}


def test_an_error_is_shown_as_an_alert_and_cleared_by_the_next_good_click(
    door: Any, cache: Cache, listener: Listener
) -> None:
    card = ProfileCard(Profiles(door.url), cache, "ada", listener)
    card.buttons["likes"].click()
    until("the alert is shown", lambda: 'role="alert"' in card.error.value)
    assert "does not answer" in card.error.value
    assert card.labels["likes"].value == "–"  # noqa: RUF001
    door.open()
    card.buttons["likes"].click()
    until("the alert is gone", lambda: card.error.value == "")
    until("the number moves", lambda: card.labels["likes"].value == "1")


def test_a_read_only_database_is_told_as_the_web_app_tells_it(database: str, cache: Cache) -> None:
    read_only = f"{database}&options=-c%20default_transaction_read_only%3Don"
    card = ProfileCard(Profiles(read_only), cache, "ada")
    card.buttons["likes"].click()
    until("the alert is shown", lambda: ReadOnlyError.public in card.error.value)


def test_an_alert_shows_text_and_runs_nothing(cache: Cache) -> None:
    class Refusing(Profiles):
        def increment(self, username: str, counter: str) -> None:
            raise ReactiveDemoError(f"no {counter} for {username}: {HOSTILE}")

    card = ProfileCard(Refusing("dbname=none"), cache, HOSTILE)
    card.buttons["likes"].click()
    until("the alert is shown", lambda: card.error.value)
    assert "<script" not in card.error.value
    assert "&lt;script&gt;" in card.error.value


def test_the_listeners_state_is_shown_in_words(
    database: str,
    profiles: Profiles,
    cache: Cache,
    listener: Listener,
    listen: Listen,
) -> None:
    card = ProfileCard(profiles, cache, "ada", listener)
    until("it is live", lambda: card.state.value == "Listener: live")
    waiting = ProfileCard(profiles, cache, "ada", listen(database, cache, state="standby"))
    until("it waits", lambda: waiting.state.value == "Listener: standby: another listener leads")
    listener.stop()
    until("it stopped", lambda: card.state.value == "Listener: stopped")
    until("it leads", lambda: waiting.state.value == "Listener: live")


def test_a_closed_card_follows_neither_the_cache_nor_the_listener(
    card: ProfileCard, cache: Cache, listener: Listener
) -> None:
    assert followed(cache) == 3
    assert len(listener._status._observers) == 1
    card.close()
    assert followed(cache) == 0
    assert listener._status._observers == []


def test_the_garbage_collector_may_close_a_card_once_more(
    profiles: Profiles, cache: Cache, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", unraisable.append)
    card = ProfileCard(profiles, cache, "ada", listener)
    card.close()
    card.close()
    del card
    gc.collect()
    assert unraisable == []


def test_a_card_without_a_browser_is_a_picture(cache: Cache, card: ProfileCard) -> None:
    cache.put([Change("ada", {"followings_count": 1, "followers_count": 22, "likes_count": 333})])
    bundle = card._repr_mimebundle_()
    assert bundle[WIDGET_VIEW]["model_id"] == card.model_id
    assert bundle["text/plain"] == "ProfileCard(ada)"
    assert "<title>@ada: 1 followings, 22 followers, 333 likes</title>" in bundle["image/svg+xml"]
    assert ">333</text>" in bundle["image/svg+xml"]


def test_a_hostile_name_is_shown_and_runs_nothing(profiles: Profiles, cache: Cache) -> None:
    card = ProfileCard(profiles, cache, HOSTILE)
    pages = [card._repr_mimebundle_()["image/svg+xml"], card.children[0].value]
    for page in (*pages, Windows(card)._repr_mimebundle_()["image/svg+xml"]):
        assert "<script" not in page
        assert "@&lt;script&gt;alert(&#x27;ada&#x27;)&lt;/script&gt;" in page
    assert ">&lt;</span>" in card.children[0].value, "the initial is one whole character"


def test_texts_tell_no_values_that_change(card: ProfileCard, profiles: Profiles) -> None:
    card.buttons["likes"].click()
    until("likes shows 1", lambda: card.labels["likes"].value == "1")
    label, burst = card.labels["likes"], BurstButton(profiles, "ada")
    for widget, text in (
        (card, "ProfileCard(ada)"),
        (label, "LiveLabel(ada.likes_count)"),
        (burst, "BurstButton(1,000 likes)"),
        (Windows(card, card), "Windows(ProfileCard(ada), ProfileCard(ada))"),
    ):
        bundle = widget._repr_mimebundle_()
        assert repr(widget) == bundle["text/plain"] == text
        assert bundle[WIDGET_VIEW]["model_id"] == widget.model_id


# Windows


def test_windows_show_every_card_and_close_them(
    profiles: Profiles, cache: Cache, listener: Listener
) -> None:
    windows = Windows(*(ProfileCard(profiles, cache, name, listener) for name in ("ada", "bob")))
    picture = windows._repr_mimebundle_()["image/svg+xml"]
    assert ">@ada</text>" in picture
    assert ">@bob</text>" in picture
    assert followed(cache) == 6
    windows.close()
    windows.close()
    assert followed(cache) == 0
    assert listener._status._observers == []


# Bursts


def test_a_burst_commits_every_transaction_and_says_so(
    card: ProfileCard, profiles: Profiles
) -> None:
    burst = BurstButton(profiles, "ada", count=200)
    burst.click()
    burst.wait()
    assert profiles.get("ada")["likes_count"] == 200
    until("the label has kept up", lambda: card.labels["likes"].value == "200")
    until("the words say so", lambda: burst.words.value == "200 of 200 committed")
    until("the bar is full", lambda: burst.progress.value == 200)


def test_a_second_click_while_it_is_busy_does_nothing(
    profiles: Profiles, connection: psycopg.Connection
) -> None:
    profiles.increment("ada", "followers")
    burst = BurstButton(profiles, "ada", "followers", count=20)
    with connection.transaction():
        connection.execute("SELECT FROM profile FOR UPDATE")  # the burst waits for this row
        burst.click()
        burst.click()
        with pytest.raises(ReactiveDemoError, match="not done after"):
            burst.wait(timeout=0.05)
    burst.wait()
    assert profiles.get("ada")["followers_count"] == 21
    burst.click()
    burst.wait()
    assert profiles.get("ada")["followers_count"] == 41


def test_a_burst_that_fails_says_why_and_raises_it_and_may_be_tried_again(door: Any) -> None:
    burst = BurstButton(Profiles(door.url), "ada", count=1000)
    burst.click()
    with pytest.raises(ReactiveDemoError, match="does not answer"):
        burst.wait(timeout=10)
    until("it says so", lambda: "does not answer" in burst.words.value)
    door.open()
    burst.click()
    burst.wait()
    until("the words say so", lambda: burst.words.value == "1,000 of 1,000 committed")


def test_a_burst_without_a_browser_is_a_button(profiles: Profiles) -> None:
    picture = BurstButton(profiles, "ada", HOSTILE)._repr_mimebundle_()["image/svg+xml"]
    assert ">Burst: 1,000 &lt;script&gt;" in picture


def test_cards_button_and_flow_are_one_picture_and_close_together(
    card: ProfileCard, profiles: Profiles, listener: Listener
) -> None:
    burst, flow = BurstButton(profiles, "ada"), FlowView(listener, profiles=profiles)
    windows = Windows(card, burst, flow)
    picture = ET.fromstring(windows.to_svg())
    tops = [int(part.get("y")) for part in picture if part.tag.endswith("svg")]
    assert tops == sorted(set(tops))
    assert len(tops) == 3
    windows.close()
    assert not profiles.wrote
