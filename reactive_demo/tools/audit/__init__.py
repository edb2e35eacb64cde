"""The audit: it finds out whether each cached row equals its row in the table.

    audit(database_url, cache)            compare, and tell late rows from wrong ones
    repair(database_url, cache, report)   repair the wrong rows, and nothing else

`table` reads the table, `held` the cache; `verdict` compares, without any I/O.
"""

from reactive_demo.tools.audit.meter import LIMIT, audit
from reactive_demo.tools.audit.repairs import repair
from reactive_demo.tools.audit.verdict import Difference, Kind, Look, Report

__all__ = ["LIMIT", "Difference", "Kind", "Look", "Report", "audit", "repair"]
