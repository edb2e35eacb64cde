"""Everything that only the tutorial needs; the library never imports it."""
