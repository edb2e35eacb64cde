"""What the doctor says of this machine, as it is and with each fault."""

from pathlib import Path

import pytest

from reactive_demo.tools.doctor import Line, State, machine

WANTED = ["jupyterlab>=4.4", "ipykernel<8,>=7.1", "psycopg[binary]>=3.2.10"]
TESTED = {"jupyterlab": "4.6.6", "ipykernel": "7.4.0", "psycopg": "3.3.9"}


def test_this_python_is_fine() -> None:
    assert machine.python().state is State.OK


def test_a_python_that_is_too_old() -> None:
    line = machine.python((3, 10, 12))
    assert line.state is State.MEND
    assert line.words.startswith("3.10.12, and 3.11 or newer is needed")


def test_these_packages_are_all_there_and_fit() -> None:
    lines = machine.packages()
    assert {line.state for line in lines} <= {State.OK, State.WARNING}
    assert any("psycopg" in (line.subject + line.words) for line in lines)


def test_packages_as_tested_share_a_line() -> None:
    words = "jupyterlab 4.6.6, ipykernel 7.4.0, psycopg 3.3.9: as tested"
    assert machine.packages(WANTED, TESTED, TESTED) == [Line("packages", State.OK, words)]


def test_without_a_checkout_nothing_says_what_was_tested() -> None:
    (line,) = machine.packages(WANTED, TESTED, {})
    assert line.words == "jupyterlab 4.6.6, ipykernel 7.4.0, psycopg 3.3.9"


def test_a_package_that_is_not_the_tested_one_is_a_warning() -> None:
    good, odd = machine.packages(WANTED, {**TESTED, "jupyterlab": "4.6.5"}, TESTED)
    assert good.words == "ipykernel 7.4.0, psycopg 3.3.9: as tested"
    assert odd == Line(
        "jupyterlab",
        State.WARNING,
        "4.6.5, and 4.6.6 was tested: `make clean lab` installs that version.",
    )


def test_a_package_that_is_missing() -> None:
    installed = {name: TESTED[name] for name in ("jupyterlab", "ipykernel")}
    _, odd = machine.packages(WANTED, installed, TESTED)
    assert odd == Line("psycopg", State.MEND, "not installed: `make clean lab`.")
    _, odd = machine.packages(WANTED, installed, {})
    assert odd.words == "not installed: `pip install 'psycopg[binary]>=3.2.10'`."


@pytest.mark.parametrize(
    ("name", "version"), [("psycopg", "3.2.9"), ("ipykernel", "8.0.0"), ("ipykernel", "6.30")]
)
def test_a_package_out_of_bounds(name: str, version: str) -> None:
    _, odd = machine.packages(WANTED, {**TESTED, name: version}, TESTED)
    assert (odd.subject, odd.state) == (name, State.MEND)
    assert odd.words.startswith(f"{version}, and {name}")


def test_ipykernel_7_0_and_what_it_breaks() -> None:
    _, odd = machine.packages(WANTED, {**TESTED, "ipykernel": "7.0.1"}, TESTED)
    assert (odd.subject, odd.state) == ("ipykernel", State.MEND)
    assert odd.words.startswith("7.0.1 loses widget updates from threads")


def test_when_every_package_is_odd_no_line_praises_the_others() -> None:
    assert [line.state for line in machine.packages(WANTED, {}, TESTED)] == [State.MEND] * 3


def test_a_package_that_was_only_put_on_the_path() -> None:
    (line,) = machine.packages([], {}, {})
    assert line.state is State.WARNING
    assert "not installed" in line.words


def test_there_is_disk_for_folders_that_are_not_made_yet(tmp_path: Path) -> None:
    line = machine.disk("disk", tmp_path / "home" / "of" / "data", lambda _: 500_000_000)
    assert (line.state, line.words) == (State.OK, "enough is free")
    assert str(tmp_path / "home") in line.here
    assert machine.disk("disk", tmp_path / "home").subject == "disk"


def test_little_disk_is_a_warning(tmp_path: Path) -> None:
    line = machine.disk("disk", tmp_path / "home", lambda _: 499_000_000)
    assert line.state is State.WARNING
    assert line.words == "only 499 MB are free: free some space."


def test_sockets_have_short_paths_here() -> None:
    assert machine.socket_path().state is State.OK


def test_a_folder_whose_path_is_too_long_for_sockets(tmp_path: Path) -> None:
    line = machine.socket_path(tmp_path / ("long" * 20))
    assert line.state is State.MEND
    assert "set TMPDIR to a folder with a short path" in line.words


def test_a_machine_without_chromium_and_redis_server_is_well(tmp_path: Path) -> None:
    for line in machine.programs(path=str(tmp_path)):
        assert line.state is State.OK
        assert line.words == "not found; only tests need it, and skip without it"


def test_programs_are_found_by_any_of_their_names(tmp_path: Path) -> None:
    browser = tmp_path / "google-chrome"
    browser.touch(mode=0o755)
    chromium, _ = machine.programs(path=str(tmp_path))
    assert (chromium.words, chromium.here) == ("found", str(browser))
