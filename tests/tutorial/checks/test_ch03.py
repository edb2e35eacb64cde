"""The checks of the chapter on triggers: before a step they fail in words, after it they pass."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import psycopg
import pytest

from reactive_demo import read_sql
from reactive_demo.tutorial.checks import CheckFailed, patience
from reactive_demo.tutorial.checks import ch03 as checks

CHAPTER = Path(__file__).resolve().parents[3] / "notebooks" / "03_schema_and_triggers.ipynb"

STEPS = {
    "table": "01_profile.sql",
    "increment": "02_increment.sql",
    "trigger": "03_notify.sql",
}

Connections = tuple[psycopg.Connection, psycopg.Connection]


@pytest.fixture
def both(database_url: str) -> Iterator[Connections]:
    """A connection to write through and one to hear with, in an empty database."""
    with (
        psycopg.connect(database_url, autocommit=True) as db,
        psycopg.connect(database_url, autocommit=True) as ear,
    ):
        yield db, ear


@pytest.fixture
def staged(both: Connections) -> Connections:
    """The same, after the chapter's three files, with `ear` listening."""
    db, ear = both
    for name in STEPS.values():
        db.execute(read_sql(name))
    ear.execute("LISTEN profile_change")
    return both


def solution(name: str) -> str:
    """The SQL of a solution cell of the notebook."""
    notebook = nbformat.read(CHAPTER, as_version=4)
    (cell,) = (cell for cell in notebook.cells if cell.id == name)
    return cell.source.split('"""')[1]


def heard(ear: psycopg.Connection) -> list[str]:
    ear.execute("SELECT")
    return [notification.payload for notification in ear.notifies(timeout=0)]


def rows(db: psycopg.Connection) -> int:
    return db.execute("SELECT count(*) FROM public.profile").fetchone()[0]


# Step by step


def test_each_check_fails_before_its_step_and_passes_after(
    database_url: str, both: Connections
) -> None:
    db, ear = both
    asked: dict[str, Callable[[], object]] = {
        "table": lambda: checks.table_is_made(database_url),
        "increment": lambda: checks.increment_counts(database_url),
        "trigger": lambda: checks.trigger_announces(db, ear),
    }
    for number, (step, file) in enumerate(STEPS.items()):
        for later in list(STEPS)[number:]:
            with pytest.raises(CheckFailed, match=r"run the cell that executes 0\d_"):
                asked[later]()
        db.execute(read_sql(file))
        for _ in range(2):
            assert repr(asked[step]()).startswith("✓ ")
    assert rows(db) == 0
    assert heard(ear) == []


def test_a_table_of_another_shape_is_not_taken_for_the_chapters(
    database_url: str, both: Connections
) -> None:
    db, _ = both
    db.execute("CREATE TABLE public.profile (username text PRIMARY KEY)")
    with pytest.raises(CheckFailed, match="no column followings_count"):
        checks.table_is_made(database_url)
    db.execute("DROP TABLE public.profile")
    db.execute(read_sql("01_profile.sql"))
    db.execute("ALTER TABLE public.profile DROP CONSTRAINT profile_pkey")
    with pytest.raises(CheckFailed, match="primary key of profile is not username"):
        checks.table_is_made(database_url)


UPDATES = "AFTER UPDATE ON public.profile FOR EACH ROW"
INSERTS = "AFTER INSERT ON public.profile FOR EACH ROW"
NOTIFY = "EXECUTE FUNCTION reactive.notify_profile()"


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("INSERT INTO public.profile (username) VALUES (who) ON CONFLICT DO NOTHING", "gave 0 lik"),
        (
            """INSERT INTO public.profile AS p VALUES (who, 0, 0, 1)
            ON CONFLICT (username) DO UPDATE SET likes_count = p.likes_count + 1""",
            "accepted a counter that does not exist",
        ),
        ("INSERT INTO public.profile VALUES (who)", "duplicate key"),
    ],
)
def test_a_function_that_counts_wrongly_is_found(
    database_url: str, staged: Connections, body: str, complaint: str
) -> None:
    db, _ = staged
    db.execute(
        "DROP FUNCTION reactive.increment(text, text); "
        "CREATE FUNCTION reactive.increment(who text, counter text) RETURNS void "
        f"LANGUAGE plpgsql AS $$ BEGIN {body}; END $$"
    )
    with pytest.raises(CheckFailed, match=complaint):
        checks.increment_counts(database_url)
    assert rows(db) == 0


def test_waiting_is_seen_while_it_lasts(
    staged: Connections,
) -> None:
    ann, bob = staged
    like = "SELECT reactive.increment('ada', 'likes')"
    with ThreadPoolExecutor() as threads:
        with ann.transaction():
            ann.execute(like)
            waiting = threads.submit(bob.execute, like)
            assert "waits" in repr(checks.waits_for(bob, ann))
        waiting.result(10)
    with patience(0.05), pytest.raises(CheckFailed, match="one write waits for the other"):
        checks.waits_for(bob, ann)


# The trigger


def replace_function(db: psycopg.Connection, body: str) -> None:
    db.execute(
        "CREATE OR REPLACE FUNCTION reactive.notify_profile() RETURNS trigger LANGUAGE plpgsql "
        f"AS $$ BEGIN {body}; RETURN NULL; END $$"
    )


def test_a_payload_built_by_hand_is_found_by_the_quotes_in_the_name(staged: Connections) -> None:
    db, ear = staged
    replace_function(
        db,
        'PERFORM pg_notify(\'profile_change\', \'{"operation": "\' || TG_OP || \'", "row": '
        '{"username": "\' || NEW.username || \'", "likes_count": 0}}\')',
    )
    with pytest.raises(CheckFailed, match=r"is not JSON.*json_build_object"):
        checks.trigger_announces(db, ear)
    assert rows(db) == 0


def test_a_trigger_that_is_disabled_or_silent_or_wrong_is_found(staged: Connections) -> None:
    db, ear = staged
    db.execute("ALTER TABLE public.profile DISABLE TRIGGER notify_profile")
    with pytest.raises(CheckFailed, match="has no trigger notify_profile"):
        checks.trigger_announces(db, ear)
    db.execute("ALTER TABLE public.profile ENABLE TRIGGER notify_profile")
    replace_function(db, "NULL")
    with pytest.raises(CheckFailed, match="INSERT was not announced on the channel profile_change"):
        checks.trigger_announces(db, ear)
    replace_function(
        db,
        "PERFORM pg_notify('profile_change', json_build_object("
        "'operation', TG_OP, 'row', to_json(coalesce(OLD, NEW)))::text)",
    )
    with pytest.raises(CheckFailed, match="UPDATE of a row with 1 likes was announced as"):
        checks.trigger_announces(db, ear)


def test_a_trigger_that_raises_is_named_as_the_reason_why_the_write_fails(
    staged: Connections,
) -> None:
    db, ear = staged
    replace_function(db, "RAISE 'out of ink'")
    for check in (
        checks.trigger_announces,
        checks.silence_without_change,
    ):
        with pytest.raises(CheckFailed, match=r"INSERT fails: out of ink.*correct the trigger"):
            check(db, ear)


def test_a_closed_connection_is_said_in_words(staged: Connections) -> None:
    db, ear = staged
    ear.close()
    for check in (checks.trigger_announces, checks.table_is_empty, checks.silence_without_change):
        with pytest.raises(CheckFailed, match="run the first cell of this chapter again"):
            check(db, ear)


def test_an_emptied_table_is_told_from_a_full_one_and_from_a_loud_one(staged: Connections) -> None:
    db, ear = staged
    db.execute("SELECT reactive.increment('ada', 'likes')")
    with pytest.raises(CheckFailed, match="has 1 rows: run the cell with the TRUNCATE"):
        checks.table_is_empty(db, ear)
    heard(ear)
    db.execute("DELETE FROM public.profile")
    with pytest.raises(CheckFailed, match="Something was announced"):
        checks.table_is_empty(db, ear)
    db.execute("SELECT reactive.increment('ada', 'likes')")
    heard(ear)
    db.execute("TRUNCATE public.profile")
    assert "empty" in repr(checks.table_is_empty(db, ear))


def test_what_is_asked_about_other_profiles_meanwhile_does_not_confuse_a_check(
    database_url: str, staged: Connections
) -> None:
    over = threading.Event()

    def chatter() -> None:
        with psycopg.connect(database_url, autocommit=True) as other:
            while not over.is_set():
                other.execute("SELECT reactive.increment('bob', 'likes')")

    with ThreadPoolExecutor() as threads:
        talking = threads.submit(chatter)
        try:
            for _ in range(20):
                checks.trigger_announces(*staged)
        finally:
            over.set()
        talking.result(10)


# The exercises


def test_the_exercises_are_open_until_they_are_solved_as_the_notebook_does(
    staged: Connections,
) -> None:
    db, ear = staged
    with pytest.raises(CheckFailed, match="changed nothing was announced"):
        checks.silence_without_change(db, ear)
    db.execute(solution("solve-silence"))
    checks.silence_without_change(db, ear)
    with pytest.raises(CheckFailed, match="fields operation, changed_at, row and no `changed`"):
        checks.changed_columns_are_named(db, ear)
    db.execute(solution("solve-changed"))
    checks.changed_columns_are_named(db, ear)
    checks.silence_without_change(db, ear)
    checks.trigger_announces(db, ear)
    assert rows(db) == 0
    assert heard(ear) == []


def test_silence_may_also_be_kept_inside_the_function(staged: Connections) -> None:
    db, ear = staged
    replace_function(
        db,
        "IF OLD IS DISTINCT FROM NEW THEN PERFORM pg_notify('profile_change', json_build_object("
        "'operation', TG_OP, 'row', CASE TG_OP WHEN 'DELETE' THEN to_json(OLD) ELSE to_json(NEW) "
        "END)::text); END IF",
    )
    checks.silence_without_change(db, ear)


@pytest.mark.parametrize(
    ("attempt", "complaint"),
    [
        # The condition is on a second trigger, and the first is still there
        (
            f"CREATE TRIGGER more {UPDATES} WHEN (OLD.* IS DISTINCT FROM NEW.*) {NOTIFY}",
            "changed nothing was announced",
        ),
        # Inserts and deletes are forgotten
        (
            f"CREATE OR REPLACE TRIGGER notify_profile {UPDATES} WHEN (OLD.* <> NEW.*) {NOTIFY}",
            "INSERT was not announced",
        ),
        # Only deletes are
        (
            f"""CREATE OR REPLACE TRIGGER notify_profile {INSERTS} {NOTIFY};
            CREATE TRIGGER likes {UPDATES} WHEN (OLD.likes_count <> NEW.likes_count) {NOTIFY}""",
            "DELETE was not announced",
        ),
    ],
)
def test_a_wrong_attempt_at_silence_is_told_what_is_amiss(
    staged: Connections, attempt: str, complaint: str
) -> None:
    db, ear = staged
    db.execute(attempt)
    with pytest.raises(CheckFailed, match=complaint):
        checks.silence_without_change(db, ear)
    assert heard(ear) == []


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ("'likes_count'", 'should be .*and is "likes_count"'),
        ("json_build_array('likes_count')", r'should be \["followers_count", "followings_count"\]'),
        ("(SELECT json_agg(key) FROM json_each(to_json(NEW)))", "should be .*username"),
    ],
)
def test_a_wrong_list_of_columns_is_told_what_is_amiss(
    staged: Connections, changed: str, complaint: str
) -> None:
    db, ear = staged
    replace_function(
        db,
        "PERFORM pg_notify('profile_change', json_build_object("
        f"'operation', TG_OP, 'row', to_json(NEW), 'changed', {changed})::text)",
    )
    with pytest.raises(CheckFailed, match=complaint):
        checks.changed_columns_are_named(db, ear)


# What the chapter says


def test_a_round_trip_is_enough_to_have_heard_what_was_committed_before(
    staged: Connections,
) -> None:
    db, ear = staged
    for _ in range(1_000):
        db.execute("SELECT reactive.increment('ada', 'likes')")
        assert len(heard(ear)) == 1
    db.execute("INSERT INTO public.profile SELECT 'user ' || n FROM generate_series(1, 5000) AS n")
    assert len(heard(ear)) == 5_000
