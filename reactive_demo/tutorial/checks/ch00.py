"""Checks of chapter 00."""

from reactive_demo.tutorial.checks.pipeline import cache_follows, card_shows

__all__ = ["cache_follows", "card_shows"]
