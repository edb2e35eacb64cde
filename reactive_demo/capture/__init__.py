"""Putting capture on a table, and taking it off again."""
