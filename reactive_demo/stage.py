"""How each notebook begins: the database in the chapter's state, whatever ran before."""

from reactive_demo.cache import Cache
from reactive_demo.changes import Change
from reactive_demo.profiles import Profiles
from reactive_demo.schema import install
from reactive_demo.stack import Stack

__all__ = ["set_stage"]


def set_stage(stack: Stack, *usernames: str) -> None:
    """Install the schema, and forget the profiles `usernames` in the database and the cache."""
    install(stack.database_url)
    with Profiles(stack.database_url) as profiles:
        for username in usernames:
            profiles.delete(username)
    cache = Cache(stack.redis_url)
    cache.put([Change(username, row=None) for username in usernames])
    cache.close()
