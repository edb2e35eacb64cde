"""The profile app: a page, the article's HTTP interface, and a stream of changes.

    options       the app's timings
    query         what a request asks for
    origin_guard  which requests are answered
    events        a row as a server-sent event
    sse_client    one open stream, with room for one event
    reader        the cache, read without blocking the loop
    hub           all open streams, fed by one subscription to the cache
    writers       writes to the database, in threads
    handlers      the HTTP interface
    app           all of it, in a thread
    rights        what an account needs that may not install
    serve         the app as a service in the foreground
    page/         what the browser shows, and how its tabs share one stream

An update writes the database and nothing else; a stream follows the cache. The two never meet.
"""

from reactive_demo.tutorial.web.app import ProfileApp
from reactive_demo.tutorial.web.options import WebOptions

__all__ = ["ProfileApp", "WebOptions"]
