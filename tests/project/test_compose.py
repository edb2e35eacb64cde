"""The servers of compose.yaml are those that its comment and README.md tell people to use."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from reactive_demo.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "compose.yaml"

NODES = [f"node-{n}" for n in range(6)]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    """The services of compose.yaml."""
    return dict(yaml.safe_load(COMPOSE.read_text())["services"])


@pytest.fixture(scope="module")
def urls() -> dict[str, str]:
    """The variables that the comment on top exports."""
    return dict(re.findall(r"^# +export (\w+)=(\S+)$", COMPOSE.read_text(), re.MULTILINE))


def test_the_file_follows_the_compose_specification() -> None:
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema"),
            *("--builtin-schema", "vendor.compose-spec", COMPOSE),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_no_port_is_open_to_other_machines(services: dict[str, Any]) -> None:
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_all_servers_tell_when_they_are_ready(services: dict[str, Any]) -> None:
    """Over TCP: PostgreSQL answers on its socket while the image still initialises."""
    tests = {name: service["healthcheck"]["test"] for name, service in services.items()}
    assert set(tests) == {"postgres", "standby", "redis", "rabbitmq", "kafka", *NODES}
    for name in ("postgres", "standby"):
        assert " ".join(tests[name]).startswith("CMD pg_isready -h 127.0.0.1 ")
    assert "redis-cli ping" in " ".join(tests["redis"])
    assert all("redis-cli -p" in " ".join(tests[name]) for name in NODES)
    assert "check_port_connectivity" in tests["rabbitmq"]
    assert "--list" in tests["kafka"]


def test_only_the_pair_starts_unless_more_is_asked_for(services: dict[str, Any]) -> None:
    asked_for = {name for name, service in services.items() if service.get("profiles")}
    assert asked_for == {"standby", "rabbitmq", "kafka", *NODES}


def test_the_data_is_where_the_image_of_version_18_keeps_it(services: dict[str, Any]) -> None:
    assert services["postgres"]["image"] == "postgres:18"
    assert services["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]


def test_the_standby_follows_the_primary(services: dict[str, Any], urls: dict[str, str]) -> None:
    standby, primary = services["standby"], services["postgres"]
    assert standby["image"] == primary["image"]
    said = standby["command"][-1]
    for setting in re.findall(r"-c \S+=\S+", primary["command"]):
        assert setting in said
    url = urlsplit(urls["DATABASE_URL"])
    assert f"host=postgres user={url.username} password={url.password} " in said
    assert standby["depends_on"]["postgres"]["condition"] == "service_healthy"
    shell = subprocess.run(["sh", "-n", "-c", said.replace("$$", "$")], check=False)
    assert shell.returncode == 0


def test_the_nodes_of_the_cluster_are_six_and_reached_where_they_say(
    services: dict[str, Any],
) -> None:
    for number, name in enumerate(NODES):
        node, port = services[name], 7000 + number
        assert (node["profiles"], node["image"]) == (["cluster"], services["redis"]["image"])
        assert node["environment"] == {"PORT": str(port)}
        assert node["ports"] == [f"127.0.0.1:{port}:{port}"]
        said = node["command"][-1]
        assert "--cluster-announce-hostname localhost" in said
        assert (
            subprocess.run(["sh", "-n", "-c", said.replace("$$", "$")], check=False).returncode == 0
        )
    assert set(services["node-5"]["depends_on"]) == set(NODES[:5])


def test_the_urls_lead_to_these_servers(services: dict[str, Any], urls: dict[str, str]) -> None:
    database, cache = urlsplit(urls["DATABASE_URL"]), urlsplit(urls["REDIS_URL"])
    environment = services["postgres"]["environment"]
    assert {
        "POSTGRES_USER": database.username,
        "POSTGRES_PASSWORD": database.password,
        "POSTGRES_DB": database.path.removeprefix("/"),
    } == environment
    for name, url in (("postgres", database), ("redis", cache)):
        (port,) = services[name]["ports"]
        assert port.startswith(f"{url.hostname}:${{")
        assert re.search(r":-(\d+)}:(\d+)$", port).groups() == (str(url.port),) * 2  # type: ignore[union-attr]
    settings = Settings.from_environment(urls)
    assert settings.database_url == urls["DATABASE_URL"]
    assert settings.redis_url == urls["REDIS_URL"]


def test_the_urls_lead_to_the_brokers(services: dict[str, Any], urls: dict[str, str]) -> None:
    settings = Settings.from_environment(urls)
    broker = urlsplit(str(settings.rabbitmq_url))
    environment = services["rabbitmq"]["environment"]
    assert {
        "RABBITMQ_DEFAULT_USER": broker.username,
        "RABBITMQ_DEFAULT_PASS": broker.password,
    } == environment
    assert services["rabbitmq"]["ports"] == [f"{broker.hostname}:${{RABBITMQ_PORT:-5672}}:5672"]
    assert settings.kafka_servers == "127.0.0.1:9092"
    assert services["kafka"]["ports"] == ["127.0.0.1:${KAFKA_PORT:-9092}:9092"]


@pytest.mark.parametrize("variable", ["DATABASE_URL", "REDIS_URL"])
def test_the_readme_names_the_same_urls(variable: str, urls: dict[str, str]) -> None:
    assert urls[variable] in (ROOT / "README.md").read_text()
