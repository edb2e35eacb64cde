"""The HTTP interface, as a black box."""

import random
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from reactive_demo import ProfileApp, Stack
from reactive_demo.errors import ReadOnlyError
from reactive_demo.tutorial.web.handlers import PAGE
from tools.waiting import until
from tools.web import ask, exchange, request, update
from tutorial.web.conftest import Web

COUNTERS = ["followings", "followers", "likes"]
ODD_NAMES = [
    "O'Reilly",
    '"ada"',
    "a/b",
    "..",
    " ada ",
    "ada\r\n\tbyron",
    "👩‍💻 🐘",
    "Аделина 愛達 عدا",
    "'; DROP TABLE profile; --",
    "%s %(x)s {0} $1 $$ %41",
    "<script>alert('ada')</script>&amp;",
    "a?action=inc_likes#b",
    "\x01\x1b[31m",
    "é" * 50,
]


def read(web: Web, name: str, version: str) -> dict[str, object]:
    """The profile by HTTP, when its version is there."""

    def found() -> bool:
        answer = ask(web.port, "GET", f"/v1/profile/{quote(name, safe='')}")
        return answer.status == 200 and int(answer.json["version"]) >= int(version)

    until(f"{name!r} is in the cache", found)
    return dict(ask(web.port, "GET", f"/v1/profile/{quote(name, safe='')}").json)


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH"])
@pytest.mark.parametrize("counter", COUNTERS)
def test_an_update_writes_one_counter_and_tells_the_version(
    web: Web, method: str, counter: str
) -> None:
    name = f"{method}-{counter}"
    answer = ask(web.port, method, f"/v1/profile/{name}?action=inc_{counter}")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["username"] == name
    wanted = {f"{one}_count": int(one == counter) for one in COUNTERS}
    assert web.profiles.get(name) == {"username": name, **wanted}
    version = answer.json["version"]
    assert read(web, name, version) == {"username": name, **wanted, "version": version}


@pytest.mark.parametrize("name", ODD_NAMES, ids=range(len(ODD_NAMES)))
def test_any_name_of_1_to_50_characters_is_a_name(web: Web, name: str) -> None:
    version = update(web.port, name)
    assert read(web, name, version)["username"] == name
    assert web.profiles.get(name)["likes_count"] == 1


def test_updates_that_come_together_are_all_counted(web: Web) -> None:
    names = [f"together{n % 7}" for n in range(700)]
    puts = [request("PUT", f"/v1/profile/{name}?action=inc_likes") for name in names]
    with ThreadPoolExecutor(10) as pool:
        answers = pool.map(lambda n: exchange(web.port, puts[n::10]), range(10))
        versions = [(one.json["username"], one.json["version"]) for some in answers for one in some]
    assert len(set(versions)) == 700
    for name in set(names):
        assert web.profiles.get(name)["likes_count"] == 100
        last = max(int(version) for one, version in versions if one == name)
        assert read(web, name, str(last))["version"] == str(last)


@pytest.mark.parametrize(
    ("method", "target", "status", "words"),
    [
        ("PUT", "/v1/profile/x?action=inc_hearts", 400, "it is one of inc_followings, inc_"),
        ("PUT", "/v1/profile/x", 400, "Give action once"),
        ("PUT", "/v1/profile/x?action=inc_likes&action=inc_likes", 400, "2 times"),
        ("PUT", "/v1/profile/x?action=%ff", 400, "not UTF-8"),
        ("PUT", "/v1/profile/?action=inc_likes", 400, "1 to 50 characters"),
        ("PUT", f"/v1/profile/{'x' * 51}?action=inc_likes", 400, "and this has 51"),
        ("PUT", "/v1/profile/%00?action=inc_likes", 400, "NUL"),
        ("PUT", "/v1/profile/%ff?action=inc_likes", 400, "Bad Request"),
        ("PUT", "/v1/profile/a/b?action=inc_likes", 404, "nothing at this address"),
        ("GET", "/v1/profile/nobody-at-all", 404, "no such profile"),
        ("GET", f"/v1/profile/{'x' * 51}", 400, "1 to 50"),
        ("DELETE", "/v1/profile/x?action=inc_likes", 405, "Not Allowed"),
        ("OPTIONS", "/v1/profile/x?action=inc_likes", 405, "Not Allowed"),
        ("BREW", "/v1/profile/x?action=inc_likes", 405, "Not Allowed"),
        ("GET", "/stream", 400, "Give username once"),
        ("GET", "/stream?username=", 400, "1 to 50"),
        ("PUT", "/stream?username=x", 405, "Not Allowed"),
        ("HEAD", "/stream?username=x", 405, ""),
        ("GET", "/page", 404, "nothing"),
        ("GET", "/style.css/", 404, "nothing"),
        ("GET", "/../app.py", 404, "nothing"),
        ("GET", "/%2e%2e/app.py", 404, "nothing"),
        ("GET", "//example.org", 404, "nothing"),
        ("POST", "/", 405, "Not Allowed"),
        ("PUT", "/healthz", 405, "Not Allowed"),
    ],
)
def test_what_is_asked_wrongly_is_answered_in_json(
    web: Web, method: str, target: str, status: int, words: str
) -> None:
    before = web.rows()
    answer = ask(web.port, method, target)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert method == "HEAD" or words in answer.json["error"]
    assert ("allow" in answer.headers) == (status == 405)
    assert web.rows() == before


def fuzzed(chance: random.Random) -> bytes:
    """An update with a wrong name, a wrong action, or both."""

    def text(least: int, most: int) -> str:
        kinds = [(32, 126), (0, 127), (160, 0xD7FF), (0xE000, 0x10FFFF)]
        low, high = chance.choice(kinds)
        return "".join(chr(chance.randint(low, high)) for _ in range(chance.randint(least, most)))

    def noise() -> str:
        return "".join(f"%{chance.randrange(256):02x}" for _ in range(chance.randint(1, 60)))

    bad_name = chance.choice(
        [
            lambda: quote(text(51, 90), safe=""),
            lambda: quote(text(0, 20) + "\0" + text(0, 20), safe=""),
            lambda: f"%ff{noise()}",
            lambda: f"{noise()}%c3%28",
            lambda: "",
            lambda: "x/" + quote(text(0, 9), safe=""),
        ]
    )
    bad_action = chance.choice(
        [
            lambda: quote(f"inc_{text(0, 12)}~"),
            lambda: noise() + "~",
            lambda: chance.choice(["inc_like", "INC_LIKES", "inc_likes%20", "%20inc_likes", ""]),
            lambda: "inc_likes&action=inc_likes",
            lambda: "inc_likes%00",
            lambda: quote(
                chance.choice(["'; DELETE FROM profile; --", "inc_likes_count", "likes"])
            ),
        ]
    )
    wrong = chance.randrange(3)
    name = bad_name() if wrong != 0 else quote(text(1, 50).replace("\0", "0"), safe="")
    action = bad_action() if wrong != 1 else "inc_likes"
    method = chance.choice(["PUT", "POST", "PATCH"])
    return request(method, f"/v1/profile/{name}?action={action}")


def test_ten_thousand_wrong_updates_are_refused_and_change_nothing(web: Web) -> None:
    chance = random.Random(5)
    update(web.port, "fuzz")
    before = web.rows()
    for _ in range(40):
        sent = [fuzzed(chance) for _ in range(250)]
        for wrong, answer in zip(sent, exchange(web.port, sent), strict=True):
            assert answer.status in {400, 404}, wrong
            assert answer.json["error"], wrong
    assert web.rows() == before


FOREIGN = [
    ["Origin: http://evil.example"],
    ["Origin: http://localhost:1"],
    ["Origin: null"],
    ["Origin: "],
    ["Sec-Fetch-Site: cross-site"],
    ["Sec-Fetch-Site: same-site"],
    ["Sec-Fetch-Site: cross-site", "Origin: http://localhost"],
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_page_of_another_origin_cannot_change_data(web: Web, headers: list[str]) -> None:
    before = web.rows()
    answer = ask(web.port, "POST", "/v1/profile/victim?action=inc_likes", *headers)
    assert answer.status == 403
    assert web.rows() == before
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_the_page_itself_can(web: Web) -> None:
    own = ["Origin: http://localhost:81", "Sec-Fetch-Site: same-origin"]
    target = "/v1/profile/own?action=inc_likes"
    assert ask(web.port, "POST", target, *own, host="LOCALHOST:81").status == 200


@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "10.0.0.1", "[x", "@"])
def test_a_request_under_a_name_that_is_not_ours_is_refused(
    web: Web, method: str, host: str
) -> None:
    before = web.rows()
    for target in ("/v1/profile/ada?action=inc_likes", "/stream?username=ada", "/", "/healthz"):
        assert ask(web.port, method, target, host=host).status in {400, 403}
    assert web.rows() == before


def test_other_names_can_be_allowed(stack: Stack, web: Web) -> None:
    with ProfileApp(web.database_url, stack.redis_url, hosts=["Hub.example"]) as app:
        assert ask(app.port, "GET", "/", host="hub.example:443").status == 200
        assert ask(app.port, "GET", "/", host="127.0.0.1").status == 200
        assert ask(app.port, "GET", "/", host="other.example").status == 403


@pytest.mark.parametrize("target", ["/", "/v1/profile/ada", "/nothing", "/page.js", "/healthz"])
def test_every_answer_forbids_guessing_framing_and_foreign_scripts(web: Web, target: str) -> None:
    headers = ask(web.port, "GET", target).headers
    assert headers["x-content-type-options"] == "nosniff"
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"].startswith("'self' ")
    assert not any(name.startswith("access-control") for name in headers)


def test_the_page_uses_nothing_from_elsewhere_and_no_absolute_path(web: Web) -> None:
    for name in PAGE:
        text = ask(web.port, "GET", f"/{name}").body.decode()
        assert "://" not in text.replace("http://www.w3.org/2000/svg", "")
        assert not any(f'{name}="/' in text for name in ("src", "href"))


def test_health_is_a_listeners_sign_of_life(web: Web) -> None:
    answer = ask(web.port, "GET", "/healthz")
    assert answer.status == 200
    assert answer.json["status"] == "ok"
    assert answer.json["heartbeat_age"] <= 6


def test_an_update_is_to_be_tried_again_while_the_database_is_away(web: Web) -> None:
    away = "host=/nowhere user=somebody dbname=x connect_timeout=1"
    with ProfileApp(away, web.redis_url) as app:
        answer = ask(app.port, "PUT", "/v1/profile/ada?action=inc_likes")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.json == {"error": "PostgreSQL does not answer: try again in a moment."}


def test_a_read_only_database_is_told_in_words_that_name_nobody(web: Web) -> None:
    url = f"{web.database_url}&options=-c%20default_transaction_read_only%3Don"
    with ProfileApp(url, web.redis_url) as app:
        answer = ask(app.port, "PUT", "/v1/profile/ada?action=inc_likes")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.json == {"error": ReadOnlyError.public}
    assert "read-only" in answer.json["error"]


def test_a_database_that_takes_no_more_connections_names_nobody(web: Web) -> None:
    """PostgreSQL's own words name the account and the server."""
    with psycopg.connect(web.database_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE full_up LOGIN CONNECTION LIMIT 0")
        try:
            url = make_conninfo(web.database_url, user="full_up")
            with ProfileApp(url, web.redis_url) as app:
                answer = ask(app.port, "PUT", "/v1/profile/ada?action=inc_likes")
        finally:
            connection.execute("DROP ROLE full_up")
    assert answer.status == 503
    assert answer.json == {"error": "PostgreSQL does not answer: try again in a moment."}


def test_an_update_that_the_database_refuses_is_our_fault_and_its_details_are_not_told(
    web: Web,
) -> None:
    web.profiles.increment("full", "likes")
    with psycopg.connect(web.database_url, autocommit=True) as connection:
        connection.execute(
            "UPDATE profile SET likes_count = 9223372036854775807 WHERE username = 'full'"
        )
    answer = ask(web.port, "PUT", "/v1/profile/full?action=inc_likes")
    assert answer.status == 500
    assert "retry-after" not in answer.headers
    assert answer.json == {"error": "Internal Server Error."}
