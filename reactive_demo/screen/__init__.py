"""The screen: widgets that follow the cache, painted by one thread."""
