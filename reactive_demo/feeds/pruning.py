"""Pruning: forget keys that were deleted long ago, since the change table need not keep them.

Only what this session has read is taken. A session whose cache was away meets the number of the
last transaction so forgotten, and fills its cache. The table may be large, so a part of it is
examined, and a moment later the next.
"""

import logging
import time
from typing import Any

import psycopg

from reactive_demo.feeds.statements import Statements
from reactive_demo.options import Options

__all__ = ["Pruning"]

log = logging.getLogger(__name__)


class Pruning:
    """Examines the change table of one captured table, step by step."""

    def __init__(self, statements: Statements, options: Options) -> None:
        self._statements = statements
        self._options = options
        self._due_at = 0.0
        self._reached = ""

    @property
    def under_way(self) -> bool:
        """Whether the next step is due soon."""
        return bool(self._reached)

    def step(self, xmin: int) -> None:
        """Examine some keys, if it is time; forget those deleted by transactions below `xmin`."""
        if time.monotonic() < self._due_at:
            return
        options = self._options
        span: dict[str, Any] = {"first": self._reached, "some": options.prune_rows}
        last, count = self._statements.one("span", **span)
        try:
            self._statements.execute(
                "prune", **span, last=last, xmin=str(xmin), retention=f"{options.retention:g} s"
            )
        except psycopg.errors.InsufficientPrivilege as error:
            log.info("deleted keys stay in the change table: %s", error.diag.message_primary)
            count = 0
        ended = count < options.prune_rows
        self._reached = "" if ended else last
        pause = options.prune_interval if ended else options.prune_pause
        self._due_at = time.monotonic() + pause
