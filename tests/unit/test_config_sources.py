"""Usual names, connections in parts, spellings with units, origins, and the example file."""

import re
from pathlib import Path

import pytest
import yaml

from trade_engine.config import Config, ConfigError, Loaded, example, load, load_config

PAGE = Path(__file__).parents[2] / "docs" / "operator" / "trade-engine.example.yaml"


def loaded(tmp_path: Path, text: str = "", **environment: str) -> Loaded:
    file = tmp_path / "engine.yaml"
    file.write_text(text)
    return load(file, None, environment)


def refused(tmp_path: Path, text: str = "", **environment: str) -> str:
    with pytest.raises(ConfigError) as raised:
        loaded(tmp_path, text, **environment)
    return str(raised.value)


def test_usual_names_work_and_their_use_is_noted(tmp_path: Path) -> None:
    given = loaded(
        tmp_path, DATABASE_URL="postgresql://u:hunter2@db/t", REDIS_URL="redis://r", LOG_LEVEL="WARN", SERVER_PORT="81"
    )
    config = given.config
    assert (config.database.url, config.redis.url) == ("postgresql://u:hunter2@db/t", "redis://r")
    assert (config.logging.level, config.server.http_port) == ("warning", 81)
    assert {(note.event, note.name, note.option) for note in given.notes} == {
        ("usual_name_used", "DATABASE_URL", "database.url"), ("usual_name_used", "REDIS_URL", "redis.url"),
        ("usual_name_used", "LOG_LEVEL", "logging.level"), ("usual_name_used", "SERVER_PORT", "server.http_port"),
    }  # fmt: skip
    assert "hunter2" not in str(given.notes)
    assert given.origin("database.url") == "environment DATABASE_URL"


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("database: {url: postgresql://ours/t}", {}),
        ("database: {host: ours}", {}),
        ("", {"TRADE_ENGINE__DATABASE__URL": "postgresql://ours/t"}),
    ],
)
def test_usual_names_rank_below_everything_of_ours(tmp_path: Path, text: str, environment: dict[str, str]) -> None:
    theirs = {"DATABASE_URL": "postgresql://theirs/t", "DATABASE_PASSWORD": "x"}
    given = loaded(tmp_path, text, **environment, **theirs)
    assert "//ours" in (given.config.database.url or "") or "@ours" in (given.config.database.url or "")
    assert given.notes == []


def test_usual_names_can_be_turned_off(tmp_path: Path) -> None:
    assert loaded(tmp_path, DATABASE_URL="x", TRADE_ENGINE_USUAL_NAMES="off").config == Config()


def test_a_wrong_usual_name_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path, SERVER_PORT="http").endswith("from environment SERVER_PORT")


def test_what_service_links_say_is_no_port(tmp_path: Path) -> None:
    given = loaded(tmp_path, DATABASE_HOST="db", DATABASE_PORT="tcp://10.0.0.1:5432")
    assert given.config.database.url == "postgresql://trade_engine@db:5432/trade_engine"


def test_a_connection_may_be_given_in_parts(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("p@ss/word\n")
    text = f"database: {{host: db, port: 6000, name: n, user: u, password_file: {secret}}}\nredis: {{host: '::1'}}"
    given = loaded(tmp_path, text)
    assert given.config.database.url == "postgresql://u:p%40ss%2Fword@db:6000/n"
    assert given.config.redis.url == "redis://[::1]:6379/0"
    assert given.origin("database.url") == "made of database.host and its other parts"


def test_redis_in_parts_may_speak_tls(tmp_path: Path) -> None:
    text = "redis: {host: r, name: 3, user: u, password: 'p/w', tls: true, tls_ca_file: /etc/ca.pem}"
    url = loaded(tmp_path, text).config.redis.url
    assert url == "rediss://u:p%2Fw@r:6379/3?ssl_ca_certs=/etc/ca.pem"
    assert loaded(tmp_path, REDIS_HOST="r", REDIS_TLS="true").config.redis.url == "rediss://r:6379/0"


def test_a_socket_s_folder_is_a_host(tmp_path: Path) -> None:
    url = loaded(tmp_path, "database: {host: /run/pg}").config.database.url
    assert url == "postgresql://trade_engine@/trade_engine?host=/run/pg&port=5432"


def test_a_password_may_stand_beside_a_url_without_one(tmp_path: Path) -> None:
    text = "database: {url: postgresql://u@db/t}"
    config = loaded(tmp_path, text, TRADE_ENGINE__DATABASE__PASSWORD="p@ss").config
    assert config.database.url == "postgresql://u:p%40ss@db/t"


def test_a_connection_of_a_higher_layer_replaces_a_lower_one(tmp_path: Path) -> None:
    parts = "database: {host: db, name: n, password: p}"
    url = loaded(tmp_path, parts, TRADE_ENGINE__DATABASE__URL="postgresql://other/t").config.database.url
    assert url == "postgresql://other/t"
    url = loaded(tmp_path, "database: {url: postgresql://a/t}", TRADE_ENGINE__DATABASE__HOST="b").config.database.url
    assert url == "postgresql://trade_engine@b:5432/trade_engine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("database: {url: postgresql://a/t, host: b}", "database.host: 'b': database.url is set as well"),
        ("database: {name: n}", "database.name: 'n': database.host is missing"),
        ("database: {password: hunter2}", "database.password: (hidden): database.host is missing"),
        ("database: {url: postgresql://a/t, user: b}", "database.user: 'b': beside a url only a password may stand"),
        ("database: {url: 'postgresql://u:p@a/t', password: hunter2}", "database.url has one already"),
        ("database: {host: a, port: many}", "database.port: 'many': must be a port"),
        ("redis: {url: 'redis://:hunter2@a,b'}", "redis.url: (hidden): is a cluster's: the limits of a request"),
        ("redis: {url: 'redis://:hunter2@a', tls: true}", "redis.tls: True: beside a url only a password may stand"),
        ("redis: {host: a, password: hunter2, tls_ca_file: /ca}", "redis.tls_ca_file: '/ca': redis.tls is not set"),
        ("database: postgresql://u:hunter2@h/d", "database: (hidden): Expected `object`"),
        (
            "server: {http_port: 1, shutdown_timeout: soon}",
            "server.shutdown_timeout: 'soon': needs a number and a unit",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, text: str, message: str) -> None:
    said = refused(tmp_path, text)
    assert message in said
    assert "hunter2" not in said


def test_lengths_of_time_have_units(tmp_path: Path) -> None:
    text = "server: {read_timeout: 1m, shutdown_timeout: 30s, write_timeout_s: 90s}\nwallet: {timeout: 2s}\n"
    config = loaded(tmp_path, text + "database: {conn_max_lifetime: 1h}\nmatching: {longest_life: 7d}").config
    server = config.server
    assert (server.request_timeout_s, server.shutdown_timeout_s, server.write_timeout_s) == (60, 30, 90)
    assert (config.wallet.timeout_ms, config.database.conn_max_lifetime_s) == (2_000, 3_600)
    assert config.matching.longest_life_days == 7


def test_names_that_look_like_ours_are_noted(tmp_path: Path) -> None:
    names = {"TRADE_ENGINE_SERVER__HTTP_PORT": "1", "TRADE_ENGINE_HTTP_PORT": "1", "TRADE_ENGINE_SERVER_HOST": "a"}
    given = loaded(tmp_path, **names, TRADE_ENGINE_TOKEN="t", TRADE_ENGINE_CONFIG="f")
    assert {(note.name, note.option) for note in given.notes} == {
        ("TRADE_ENGINE_SERVER__HTTP_PORT", "TRADE_ENGINE__SERVER__HTTP_PORT"),
        ("TRADE_ENGINE_SERVER_HOST", "TRADE_ENGINE__SERVER__HOST"),
        ("TRADE_ENGINE_HTTP_PORT", ""),
    }
    assert {note.event for note in given.notes} == {"unknown_environment_name"}


def test_each_option_knows_where_it_came_from(tmp_path: Path) -> None:
    file = tmp_path / "engine.yaml"
    file.write_text("server:\n  host: a\n  http_port: 1\n")
    given = load(file, {"server.http_port": 3}, {"TRADE_ENGINE__SERVER__WEBSOCKET_PORT": "2"})
    assert given.origin("server.host") == f"file {file}:2"
    assert given.origin("server.http_port") == "flag server.http_port"
    assert given.origin("server.websocket_port") == "environment TRADE_ENGINE__SERVER__WEBSOCKET_PORT"
    assert given.origin("server.metrics_port") == "default"


def test_the_session_s_end_is_a_time_of_day(tmp_path: Path) -> None:
    assert loaded(tmp_path, "matching: {session_end: 16:30}").config.matching.session_end == "16:30"
    assert "matching.session_end: '24:00'" in refused(tmp_path, "matching: {session_end: '24:00'}")


def test_the_example_is_made_of_the_schema() -> None:
    assert PAGE.read_text() == example(), "make it anew: trade-engine config example > docs/operator/" + PAGE.name


def test_the_example_names_every_option_with_its_default(tmp_path: Path) -> None:
    file = tmp_path / "engine.yaml"
    lines = (re.sub("^( *)# ([a-z_]+: )", r"\1\2", line) for line in example().splitlines())
    file.write_text("\n".join(lines))
    assert load_config(file, None, {}) == Config()
    tree = yaml.safe_load(file.read_text())
    for name, section in tree.items():
        if name != "environment":
            assert tuple(section) == getattr(Config(), name).__struct_fields__
