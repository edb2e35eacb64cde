"""The thread that carries changes from a feed to the cache."""
