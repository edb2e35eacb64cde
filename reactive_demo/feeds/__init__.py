"""What changed in the database: a feed opens sessions, a session yields batches of changes.

NotifyFeed         the article's way: the row travels in the notification
ChangeTableFeed    the durable way: a table says what changed, a notification only wakes
LogFeed            the way of the log: PostgreSQL decodes what it writes anyway, no trigger
"""

from reactive_demo.feeds.change_table import ChangeTableFeed
from reactive_demo.feeds.log import LogFeed
from reactive_demo.feeds.notify import NotifyFeed
from reactive_demo.feeds.session import Feed, Session

__all__ = ["ChangeTableFeed", "Feed", "LogFeed", "NotifyFeed", "Session"]
