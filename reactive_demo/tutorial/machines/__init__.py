"""Several machines on one: what chapter 10 starts, breaks and measures."""
