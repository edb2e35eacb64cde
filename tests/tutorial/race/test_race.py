"""The race: its figures come from real traffic, and nothing is left of it."""

from collections.abc import Iterator
from itertools import pairwise

import psycopg
import pytest
import redis
from matplotlib.figure import Figure

from reactive_demo import Stack
from reactive_demo.tutorial.race.delay_chart import DelayChart
from reactive_demo.tutorial.race.looks import LOOKS
from reactive_demo.tutorial.race.plot import LINE_HEIGHT, FigureTable, Plot, _name_lines
from reactive_demo.tutorial.race.race import DATABASES, Race
from tools.waiting import until
from tutorial.strategies.test_strategies import CALLS


@pytest.fixture(scope="module")
def race(stack: Stack) -> Iterator[Race]:
    with Race(stack) as running:
        yield running
    with psycopg.connect(stack.database_url) as connection:
        left = connection.execute(
            "SELECT datname FROM pg_database WHERE datname = ANY(%s)", [list(DATABASES)]
        )
        assert left.fetchall() == []
    with redis.Redis.from_url(stack.redis_url) as client:
        assert list(client.scan_iter(match="*race [wcr]*")) == []


@pytest.mark.parametrize("delay", [0, 0.005])
def test_the_writer_waits_for_each_call_the_delay_longer(race: Race, delay: int) -> None:
    figures = race.run(delay, writes=2)
    assert {one.strategy: (one.database_calls, one.cache_calls) for one in figures} == CALLS
    for one in figures:
        assert one.delay == delay
        assert one.waited >= delay * (one.database_calls + one.cache_calls)
    assert [one for one in race.figures if one.delay == delay] == figures


def test_listener_and_consumer_are_delayed_like_the_writer(race: Race) -> None:
    behind = {one.strategy: one for one in race.run(0.02, writes=1)}
    assert behind["reactive"].cache_behind >= 0.02  # told, read, written
    assert behind["write-behind"].database_behind >= 0.01  # told; the write is there half-way back


def test_the_slider_measures_and_draws(race: Race) -> None:
    chart = DelayChart(race)
    chart.move(0)
    chart.move(0.001)
    until("it says so", lambda: chart.words.value == "measured with 1 ms")
    until("the bars are there", lambda: "rd-bars-old" not in chart.bars.value)
    assert {0, 0.001} <= {one.delay for one in race.figures}
    told = "with a network delay of 1 ms. write-through, cache first: "
    assert told in chart.bars.value
    assert told in chart._repr_mimebundle_()["image/svg+xml"]
    chart.close()


def test_slider_and_bars_agree_at_any_time(race: Race) -> None:
    chart = DelayChart(race)
    for delay in (0.005, 0.001):
        chart.slider.value = delay
        until(
            "the bars agree",
            lambda at=delay: f"a network delay of {1000 * at:g} ms" in chart.bars.value,
        )
    chart.wait()
    until("they are the new ones", lambda: "rd-bars-old" not in chart.bars.value)
    assert "a network delay of 1 ms" in chart.bars.value
    chart.close()


def test_no_label_of_the_plot_covers_another_or_a_point() -> None:
    figure = Figure()
    axes = figure.subplots()
    _name_lines(axes, {name: (1 + n / 100, 1) for n, name in enumerate(LOOKS)})
    heights = sorted(label.get_position()[1] for label in axes.texts)
    assert all(after - before >= LINE_HEIGHT - 1e-9 for before, after in pairwise(heights))
    assert all(0 < height < 1 for height in heights), "and none covers the title"
    assert all(label.get_position()[0] > 1 for label in axes.texts), "beside the plot"


def test_of_many_moves_the_last_counts(race: Race) -> None:
    chart = DelayChart(race)
    for delay in (0.005, 0.001, 0.02, 0.001, 0):
        chart.slider.value = delay
    chart.wait()
    until("it says so", lambda: chart.words.value == "measured with 0 ms")
    chart.close()


def test_what_went_wrong_is_shown_and_raised(race: Race) -> None:
    class Failing:
        figures = ()

        def run(self, _: float) -> None:
            raise TimeoutError("nothing arrived")

    chart = DelayChart(Failing())
    assert chart.bars.value.count("not measured yet") == 2 * len(LOOKS), "each, in words and bars"
    with pytest.raises(TimeoutError, match="nothing arrived"):
        chart.move(0.005)
    until("it says so", lambda: chart.words.value == "nothing arrived")
    chart.race = race
    chart.move(0.005)
    chart.close()


def test_figures_read_well_without_a_picture(race: Race) -> None:
    if not race.figures:
        race.run(0, writes=1)
    table, plot = FigureTable(race.figures, 0), Plot(race.figures)
    assert repr(table).splitlines()[-1].startswith("reactive  1  ")
    assert table._repr_html_().count("<tr>") == 6
    bundle = plot._repr_mimebundle_()
    assert bundle["text/plain"].startswith("What the writer waits for. write-through, cache first:")
    assert plot.png().startswith(b"\x89PNG")


def test_a_race_ends_the_one_before(race: Race, stack: Stack) -> None:
    with Race(stack) as again:
        assert again.run(0, writes=1)
        with pytest.raises(redis.ConnectionError):
            race.run(0, writes=1)
