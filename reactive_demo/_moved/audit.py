"""The former address of `reactive_demo.tools.audit`."""

from reactive_demo.tools.audit import audit, repair

__all__ = ["audit", "repair"]
