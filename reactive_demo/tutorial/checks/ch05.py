"""Checks of chapter 05: the profile app, asked as a browser asks it."""

import http.client
import json
from typing import Any
from urllib.parse import quote

from reactive_demo.app.profiles import Profiles
from reactive_demo.tutorial.checks.pipeline import is_captured, missing_write
from reactive_demo.tutorial.checks.verdict import CheckFailed, Verdict, until, until_right
from reactive_demo.tutorial.web import ProfileApp

__all__ = ["app_follows", "is_captured", "until"]


def app_follows(
    app: ProfileApp, profiles: Profiles, username: str, timeout: float = 5, **at_least: int
) -> Verdict:
    """Check that the app shows what the database holds."""

    def broken_hop() -> str:
        row = profiles.get(username) or {}
        if complaint := missing_write(username, row, at_least):
            return complaint
        status, shown = _get(app, f"/v1/profile/{quote(username, safe='')}")
        if status == http.client.OK and {**row, "version": shown.get("version")} == shown:
            return ""
        if _get(app, "/healthz")[0] != http.client.OK:
            return (
                "Hop 3, nobody carries changes: /healthz knows of no listener. Run the cell that "
                "starts it, and see what `listener.check()` says."
            )
        return (
            f"Hop 4, the app shows {shown}, and the database has {row}: what is `listener.state`?"
        )

    until_right(broken_hop, timeout)
    return Verdict(f"the app shows what the database holds about {username}")


def _get(app: ProfileApp, path: str) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(app.address, app.port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, dict(json.load(answer))
    except OSError as error:
        raise CheckFailed(
            f"The app does not answer ({error}): run the cell that starts it."
        ) from None
    finally:
        connection.close()
