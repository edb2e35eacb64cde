"""The cache: what Redis holds, how it is written, and how to be told when it changes."""
