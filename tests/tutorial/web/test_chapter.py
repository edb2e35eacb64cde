"""What notebook 05 uses beside the app: its check, and the frames."""

import http.client

import pytest

from reactive_demo import AppWindows, Cache, ProfileApp
from reactive_demo.tutorial.checks import CheckFailed
from reactive_demo.tutorial.checks.ch05 import app_follows
from tools.redis_server import RedisServer
from tutorial.web.conftest import Web


def test_the_check_passes_when_the_app_shows_what_the_database_has(web: Web) -> None:
    web.profiles.increment("checked", "likes")
    verdict = app_follows(web.app, web.profiles, "checked", likes=1)
    assert str(verdict) == "✓ the app shows what the database holds about checked"


def test_the_check_names_the_hop_that_did_not_happen(web: Web, own_redis: RedisServer) -> None:
    with pytest.raises(CheckFailed, match="Hop 1, the write: nobody has 0 likes"):
        app_follows(web.app, web.profiles, "nobody", timeout=0.1, likes=1)
    web.profiles.increment("uncarried", "likes")
    app = ProfileApp(web.database_url, own_redis.url)
    with app, pytest.raises(CheckFailed, match="Hop 3, nobody carries changes"):
        app_follows(app, web.profiles, "uncarried", timeout=0.1, likes=1)
    with pytest.raises(CheckFailed, match="The app does not answer"):
        app_follows(app, web.profiles, "uncarried", timeout=0.1, likes=1)


def test_on_a_hub_the_frames_lead_through_its_proxy(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's name is none that the app could know, and no other way leads to its loopback."""
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/ada/")
    cache = Cache(web.redis_url)
    with ProfileApp(web.database_url, web.redis_url) as app:
        windows = AppWindows(app.url, "ada", cache)
        assert windows.value.count(f'src="/user/ada/proxy/{app.port}/?username=ada"') == 2
        here = {"Host": "hub.example.org", "Origin": "https://hub.example.org"}
        elsewhere = {**here, "Origin": "https://example.com"}
        asked = [
            put_by_proxy(app, "/v1/profile/ada?action=inc_likes", one) for one in (here, elsewhere)
        ]
    assert asked == [200, 403]
    windows.close()
    cache.close()


def put_by_proxy(app: ProfileApp, path: str, headers: dict[str, str]) -> int:
    """Send a PUT as the proxy would; return the status."""
    connection = http.client.HTTPConnection(app.address, app.port, timeout=10)
    connection.request("PUT", path, headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


def test_the_frames_lead_to_the_app_and_a_name_is_no_html(web: Web) -> None:
    cache = Cache(web.redis_url)
    windows = AppWindows("/proxy/8000/", "<b>&'\"", cache)
    assert windows.value.count('src="/proxy/8000/?username=%3Cb%3E%26%27%22"') == 2
    assert "<b>" not in windows.value
    static = windows._repr_mimebundle_()["image/svg+xml"]
    assert static.count(">@&lt;b&gt;") == 3, "twice, and in the title"
    assert repr(windows) == "AppWindows(<b>&'\")"
    windows.close()
    cache.close()
