"""Where options come from, which wins, and what a wrong one is told."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from trade_engine.config import Config, ConfigError, load_config, markets_of, schema, shown
from trade_engine.domain.enums import FeeAsset
from trade_engine.domain.market import default_markets

BTC = {"symbol": "BTC/USDT", "tick_size": "0.01", "lot_size": "0.000001"}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def file(text: str) -> Path:
        path = tmp_path / "engine.yaml"
        path.write_text(text)
        return path

    return file


def wrong(text: str, environment: dict[str, str] | None = None, file: Path | None = None) -> None:
    with pytest.raises(ConfigError) as raised:
        markets_of(load_config(file, environment=environment or {}))
    assert text in str(raised.value)


def test_without_anything_the_defaults_hold() -> None:
    config = load_config(environment={})
    assert config == Config()
    assert markets_of(config) == default_markets()


def test_flags_beat_the_environment_which_beats_the_file_which_beats_the_defaults(write: Any) -> None:
    file = write("server: {http_port: 1, host: a, max_body_bytes: 2048}\nmatching:\n")
    env = {"TRADE_ENGINE__SERVER__HTTP_PORT": "2", "TRADE_ENGINE__SERVER__HOST": "b", "OTHER": "x"}
    server = load_config(file, {"server.http_port": 3, "server.host": None}, env).server
    assert (server.http_port, server.host, server.max_body_bytes, server.request_timeout_s) == (3, "b", 2048, 60)


def test_variables_stand_anywhere_in_a_value_and_have_defaults(write: Any) -> None:
    file = write(
        "environment: ${STAGE}-1\n"
        "server: {http_port: '${PORT:81}', host: '${HOST:::1}'}\n"
        "database:\n  url: ${URL:}\n"
        "# ${NOT_READ}\n"
    )
    config = load_config(file, environment={"STAGE": "a: b #c"})
    assert (config.environment, config.server.http_port, config.server.host) == ("a: b #c-1", 81, "::1")
    assert config.database.url is None
    wrong("${STAGE}: the variable is not set and has no default", file=file)


@pytest.mark.parametrize(("option", "text"), [("tick_size", "0.01\n"), ("symbol", "BTC/USDT\n")])
def test_a_line_feed_ends_no_value(option: str, text: str) -> None:
    with pytest.raises(ConfigError, match=option):
        load_config(flags={"matching.markets": [BTC | {option: text}]}, environment={})


def test_numbers_in_yaml_are_the_text_that_was_written(write: Any) -> None:
    file = write(
        "matching:\n  markets:\n"
        "    - {symbol: BTC/USDT, tick_size: 0.01, lot_size: 0.000001, min_quantity: 10, taker_fee: 0.0012,\n"
        "       fee_asset: RECEIVED, price_band: 0.5}\n"
    )
    (market,) = markets_of(load_config(file, environment={}))
    assert (market.tick_size, market.lot_size, market.min_quantity) == (1_000_000, 100, 1_000_000_000)
    assert (market.taker_fee, market.fee_asset, market.price_band_ppm) == (120_000, FeeAsset.RECEIVED, 500_000)


def test_lists_come_from_the_environment_as_yaml() -> None:
    env = {"TRADE_ENGINE__SERVER__CORS_ORIGINS": '["a", "b"]', "TRADE_ENGINE__LOGGING__ACCESS": "true"}
    config = load_config(environment=env)
    assert config.server.cors_origins == ["a", "b"]
    assert config.logging.access
    wrong("TRADE_ENGINE__X: '[': is not YAML", {"TRADE_ENGINE__X": "["})


def test_secrets_come_from_files_and_are_never_shown(tmp_path: Path) -> None:
    secret, url = tmp_path / "secret", tmp_path / "url"
    secret.write_text("s" * 32 + "\n")
    url.write_text("postgresql://engine:hunter2@db/trade\n")
    env = {
        "TRADE_ENGINE__AUTH__JWT_SECRET_FILE": str(secret),
        "TRADE_ENGINE__DATABASE__URL_FILE": str(url),
    }
    config = load_config(environment=env)
    assert config.auth.jwt_secret == "s" * 32
    assert config.database.url == "postgresql://engine:hunter2@db/trade"
    tree = shown(config)
    assert (tree["auth"]["jwt_secret"], tree["database"]["url"]) == ("(set)", "(set)")
    assert "hunter2" not in str(tree)
    wrong("set one of the two", env | {"TRADE_ENGINE__AUTH__JWT_SECRET": "x" * 32})
    secret.unlink()
    wrong("auth.jwt_secret_file:", env)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SERVER__HTTP_PORT": "70000"}, "server.http_port: '70000': Expected `int` <= 65535 (REST API;"),
        ({"SERVER__HTTP_PORT": "eighty"}, "server.http_port: 'eighty': Expected `int`"),
        ({"SERVER__HTTP_PROT": "80"}, "server.http_prot: unknown option; did you mean http_port?"),
        ({"SERVICE__HTTP_PORT": "80"}, "service: unknown option; did you mean server?"),
        ({"SERVER": "80"}, "server: '80': Expected `object`"),
        ({"SERVER__HOST__NAME": "a", "SERVER__HOST": "b"}, "host is not a section"),
        ({"LOGGING__LEVEL": "loud"}, "logging.level: 'loud': Invalid enum value 'loud' (debug, info, warning or error"),
        ({"AUTH__JWT_SECRET": "short"}, "auth.jwt_secret: (hidden): must have at least 32 bytes"),
        ({"DATABASE__URL": "mysql://u:hunter2@h/d"}, "database.url: (hidden): must start with postgresql://"),
        ({"DATABASE__URL": "[hunter2]"}, "database.url: (hidden): Expected `str | null`, got `array`"),
        ({"DATABASE__DIRECT_URL": "postgresql://h/d"}, "database.direct_url: (hidden): needs database.url"),
        ({"MATCHING__MARKETS": "[]"}, "matching.markets: []: list a market"),
        ({"MATCHING__MARKETS": "[{symbol: btc}]"}, "matching.markets[0].symbol: 'btc'"),
        ({"MATCHING__MARKETS": "[{symbol: A/B, tick: 1}]"}, "did you mean tick_size?"),
    ],
)
def test_a_wrong_option_is_named_with_its_value_and_the_reason(environment: dict[str, str], message: str) -> None:
    wrong(message, {f"TRADE_ENGINE__{key}": value for key, value in environment.items()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tick_size": "0.001", "lot_size": "0.000001"}, "tick_size x lot_size must be a whole number of 1e-8"),
        ({"tick_size": "1e-2"}, "matching.markets[0].tick_size: '1e-2'"),
        ({"min_quantity": "0.0000015"}, "min_quantity must be whole lots"),
        ({"taker_fee": "1"}, "taker_fee must be at least 0 and below 1"),
        ({"symbol": "USDT/USDT"}, "two different assets"),
    ],
)
def test_a_market_that_contradicts_itself_is_refused(change: dict[str, str], message: str) -> None:
    market = msgspec.json.encode([BTC | change]).decode()
    wrong(message, {"TRADE_ENGINE__MATCHING__MARKETS": market})


def test_a_market_listed_twice_is_refused() -> None:
    wrong("markets[1].symbol: 'BTC/USDT': is listed twice", {"TRADE_ENGINE__MATCHING__MARKETS": str([BTC, BTC])})


def test_markets_that_read_alike_without_a_slash_are_refused() -> None:
    wrong(
        "markets[1].symbol: 'BT/CUSDT': cannot be told from BTC/USDT without its slash",
        {"TRADE_ENGINE__MATCHING__MARKETS": str([BTC, BTC | {"symbol": "BT/CUSDT"}])},
    )


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "is not YAML"), ("- 1", "must hold sections"), ("server: {http_port: -1}", "'-1'")]
)
def test_a_file_that_is_no_configuration_is_refused(write: Any, text: str, message: str) -> None:
    wrong(message, file=write(text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    wrong("none.yaml: cannot be read: No such file", file=tmp_path / "none.yaml")


def test_every_option_has_a_default_and_a_description() -> None:
    definitions = schema()["$defs"]
    for name, section in definitions.items():
        for key, option in section["properties"].items():
            is_section = "$ref" in option or any("$ref" in inner for inner in option.get("anyOf", []))
            assert is_section or "$ref" in str(option) or option.get("description"), f"{name}.{key}"
            assert "default" in option or name in ("Config", "MarketSection"), f"{name}.{key}"
