"""The consistency meter: whether each cached row equals its row.

    audit(database_url, cache)    compares, and tells late from wrong
    repair(database_url, report)  on demand only, and only the keys that are wrong

`table` reads the truth, `held` the cache, `verdict` compares without any I/O.
"""

from reactive_demo.tools.audit.meter import LIMIT, audit
from reactive_demo.tools.audit.repairs import repair
from reactive_demo.tools.audit.verdict import Difference, Kind, Look, Report

__all__ = ["LIMIT", "Difference", "Kind", "Look", "Report", "audit", "repair"]
