"""Self-checks: what a step of a notebook should have brought about, asked of the live servers.

A check waits for what may take a moment. It answers with a sentence, or raises `CheckFailed`,
which names the hop that did not happen and what to look at.

    verdict     the answer, and `until`, which waits for anything
    hops        the way of a change through the pipeline
    channels    messages: who listens, what was heard, what was taken back
    triggers    table, function and trigger, step by step
    healing     what was lost, and what came back
    app         the profile app, as a browser sees it
    breaking    what a fault did to two pipelines
    strategies  where database and cache differ, and who waits for what
"""

from reactive_demo.checks.app import app_follows
from reactive_demo.checks.breaking import (
    durable_lost_nothing,
    keys_were_late,
    meter_finds,
    neither_lost,
    one_side_lost,
    sides_agree,
)
from reactive_demo.checks.channels import (
    heard,
    heard_on,
    letter_found,
    listens,
    stream_keeps,
    taken_back,
)
from reactive_demo.checks.healing import (
    change_is_lost,
    has_healed,
    is_captured,
    nothing_is_missed,
    row_is_missed,
    table_is_followed,
)
from reactive_demo.checks.hops import (
    cache_follows,
    card_shows,
    history_ends,
    label_shows,
    stage_is_set,
)
from reactive_demo.checks.strategies import (
    both_agree,
    cache_is_ahead,
    cache_is_behind,
    each_call_costs_the_delay,
    reads_its_own_writes,
)
from reactive_demo.checks.triggers import (
    changed_columns_are_named,
    increment_counts,
    silence_without_change,
    table_is_empty,
    table_is_made,
    trigger_announces,
    waits_for,
)
from reactive_demo.checks.verdict import CheckFailed, Verdict, patience, until

__all__ = [
    "CheckFailed",
    "Verdict",
    "app_follows",
    "both_agree",
    "cache_follows",
    "cache_is_ahead",
    "cache_is_behind",
    "card_shows",
    "change_is_lost",
    "changed_columns_are_named",
    "durable_lost_nothing",
    "each_call_costs_the_delay",
    "has_healed",
    "heard",
    "heard_on",
    "history_ends",
    "increment_counts",
    "is_captured",
    "keys_were_late",
    "label_shows",
    "letter_found",
    "listens",
    "meter_finds",
    "neither_lost",
    "nothing_is_missed",
    "one_side_lost",
    "patience",
    "reads_its_own_writes",
    "row_is_missed",
    "sides_agree",
    "silence_without_change",
    "stage_is_set",
    "stream_keeps",
    "table_is_empty",
    "table_is_followed",
    "table_is_made",
    "taken_back",
    "trigger_announces",
    "until",
    "waits_for",
]
