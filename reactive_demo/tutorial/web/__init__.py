"""The profile app: a page, the article's HTTP interface, and a stream for whoever watches.

    query       what a request asks for
    gate        whose requests are answered
    events      a row as a server-sent event
    viewer      one who watches, and a place for one event
    audience    all who watch, on one subscription of the cache
    handlers    the HTTP interface
    app         all of it, in a thread
    page/       what the browser shows: HTML, CSS and one script

An update writes the database and nothing else; a stream follows the cache. The two never meet.
"""

from reactive_demo.tutorial.web.app import ProfileApp

__all__ = ["ProfileApp"]
