"""The description is valid, whole and true to the route table."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import yaml
from click.testing import CliRunner
from schemathesis.specs.openapi.definitions import OPENAPI_31

from tests.harness.description import NOWHERE, validator
from trade_engine.cli import main
from trade_engine.edge.problems import CODES
from trade_engine.edge.rest.openapi.answers import codes_of
from trade_engine.edge.rest.openapi.document import document, path_of
from trade_engine.edge.rest.route import OPEN, OPTIONAL, Route
from trade_engine.edge.rest.routes import ROUTES

EVERY_ROUTE = pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
OPERATIONS = [operation for methods in document()["paths"].values() for operation in methods.values()]


#: Generated clients have them as names: what is here never changes, a new route adds a line.
OPERATION_IDS = {
    "POST /api/v1/orders": "orders_place",
    "DELETE /api/v1/orders": "orders_cancel_all",
    "GET /api/v1/orders": "orders_list_orders",
    "POST /api/v1/orders/batch": "batch_place_batch",
    "POST /api/v1/orders/cancel-batch": "batch_cancel_batch",
    "POST /api/v1/orders/cancel-after": "orders_cancel_after",
    "POST /api/v1/order-pairs": "orders_place_pair",
    "GET /api/v1/order-pairs/{order_id}": "orders_get_pair",
    "DELETE /api/v1/orders/{order_id}": "orders_cancel",
    "PATCH /api/v1/orders/{order_id}": "orders_amend",
    "GET /api/v1/orders/{order_id}": "orders_get",
    "GET /api/v1/balances": "account_balances",
    "POST /api/v1/api-keys": "api_keys_create_key",
    "GET /api/v1/api-keys": "api_keys_list_keys",
    "DELETE /api/v1/api-keys/{key_id}": "api_keys_revoke_key",
    "GET /api/v1/trades": "market_list_trades",
    "GET /api/v1/orderbook/{symbol}": "market_order_book",
    "GET /api/v1/markets": "market_list_markets",
    "GET /api/v1/tickers": "market_list_tickers",
    "GET /api/v1/markets/{symbol}/ticker": "market_ticker",
    "GET /api/v1/markets/{symbol}/candles": "market_candles",
    "GET /api/v1/markets/{symbol}": "market_get_market",
    "GET /api/v1/status": "system_status",
    "GET /api/v1/time": "system_server_time",
    "GET /api/v1/admin/dead-letters": "admin_list_dead_letters",
    "GET /api/v1/admin/dead-letters/{id}": "admin_show_dead_letter",
    "POST /api/v1/admin/dead-letters/{id}/retry": "admin_retry_dead_letter",
    "POST /api/v1/admin/dead-letters/{id}/resolve": "admin_resolve_dead_letter",
    "GET /api/v1/admin/reconciliation": "admin_last_reconciliation",
    "GET /api/v1/admin/verification": "admin_last_verification",
    "POST /api/v1/admin/verification": "admin_start_verification",
    "POST /api/v1/admin/reconciliation": "admin_reconcile",
    "GET /api/v1/admin/markets": "markets_admin_admin_markets",
    "POST /api/v1/admin/markets": "markets_admin_list_market",
    "PATCH /api/v1/admin/markets/{symbol}": "markets_admin_change_market",
    "POST /api/v1/admin/markets/{symbol}/halt": "markets_admin_halt_market",
    "POST /api/v1/admin/markets/{symbol}/resume": "markets_admin_resume_market",
    "POST /api/v1/admin/markets/{symbol}/state": "markets_admin_set_market_state",
    "GET /api/v1/admin/orders/{order_id}": "engine_admin_admin_order",
    "DELETE /api/v1/admin/orders/{order_id}": "engine_admin_admin_cancel",
    "DELETE /api/v1/admin/orders": "engine_admin_admin_cancel_all",
    "GET /api/v1/admin/users/{user_id}/balances": "users_admin_user_balances",
    "GET /api/v1/admin/users/{user_id}/entries": "users_admin_user_entries",
    "GET /api/v1/admin/users/{user_id}/orders": "users_admin_user_orders",
    "GET /api/v1/admin/users/{user_id}/trades": "users_admin_user_trades",
    "POST /api/v1/admin/users/{user_id}/deposits": "users_admin_user_deposit",
    "POST /api/v1/admin/users/{user_id}/withdrawals": "users_admin_user_withdraw",
    "POST /api/v1/admin/users/{user_id}/corrections": "users_admin_user_correct",
    "GET /api/v1/admin/engine": "engine_admin_engine_status",
    "POST /api/v1/admin/reload": "engine_admin_reload_options",
    "GET /api/v1/admin/audit": "engine_admin_list_audit",
    "GET /api/v1/admin/api-keys": "api_keys_admin_list_keys",
    "DELETE /api/v1/admin/api-keys/{key_id}": "api_keys_admin_revoke_key",
    "GET /api/v1/admin/webhooks": "webhooks_list_webhooks",
    "POST /api/v1/admin/webhooks": "webhooks_add_webhook",
    "POST /api/v1/admin/webhooks/{endpoint_id}/pause": "webhooks_pause_webhook",
    "POST /api/v1/admin/webhooks/{endpoint_id}/resume": "webhooks_resume_webhook",
    "POST /api/v1/admin/webhooks/{endpoint_id}/rotate": "webhooks_rotate_webhook",
    "DELETE /api/v1/admin/webhooks/{endpoint_id}": "webhooks_remove_webhook",
    "GET /api/v1/admin/webhooks/{endpoint_id}/dead": "webhooks_list_dead_webhooks",
    "POST /api/v1/admin/webhooks/{endpoint_id}/replay": "webhooks_replay_webhooks",
    "GET /": "system_welcome",
    "GET /health/live": "system_live",
    "GET /health/ready": "system_ready",
    "GET /health": "system_live_at_health",
    "GET /ready": "system_ready_at_ready",
}


def operation_of(route: Route) -> Any:
    return document()["paths"][path_of(route)][route.method.lower()]


def described_codes(operation: Any) -> set[str]:
    """The codes that an operation's schemas allow."""
    found = re.findall(r'"code": \{"type": "string", "enum": \[(.*?)\]\}', json.dumps(operation))
    return {code for codes in found for code in json.loads(f"[{codes}]")}


def schemas(node: Any, at: str = "#") -> Iterator[tuple[str, Any]]:
    """Every schema of the document, and where it is."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "schema":
                yield f"{at}/schema", value
            else:
                yield from schemas(value, f"{at}/{name}")
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from schemas(value, f"{at}/{number}")


def test_it_is_valid_openapi_3_1() -> None:
    metaschema = jsonschema_rs.Draft202012Validator(OPENAPI_31)
    assert [str(error) for error in metaschema.iter_errors(document())] == []
    assert not metaschema.is_valid(document() | {"paths": {"orders": {}}})


def test_every_schema_is_valid_and_every_reference_leads_somewhere() -> None:
    found = [*schemas(document()), *document()["components"]["schemas"].items()]
    assert len(found) > 300
    for place, schema in found:
        try:
            jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
            validator(schema)
        except (jsonschema_rs.ValidationError, ValueError, jsonschema_rs.ReferencingError) as error:
            pytest.fail(f"{place}: {error}")


@EVERY_ROUTE
def test_every_route_is_described_with_each_of_its_statuses(route: Route) -> None:
    operation = operation_of(route)
    expected = {route.status, *route.also, *(CODES[code].status for code in codes_of(route))}
    assert {int(status) for status in operation["responses"]} == expected
    assert described_codes(operation) == codes_of(route)
    assert route.answer is not None
    assert ("requestBody" in operation) == (route.body is not None) == (route.method in ("POST", "PATCH"))
    parts = re.findall(r"\{(\w+)\}", path_of(route))
    assert [row["name"] for row in operation["parameters"] if row["in"] == "path"] == parts


def test_nothing_but_the_routes_is_described() -> None:
    assert len(OPERATIONS) == len(ROUTES)


@EVERY_ROUTE
def test_logins_follow_from_access_and_scope(route: Route) -> None:
    logins = operation_of(route)["security"]
    names = [set(login) for login in logins]
    assert ({"bearer"} in names) == (route.access != OPEN)
    assert ({"key", "timestamp", "nonce", "signature"} in names) == (route.scope is not None)
    assert (set() in names) == (route.access == OPTIONAL)
    schemes = document()["components"]["securitySchemes"]
    assert {scheme for login in names for scheme in login} <= schemes.keys()


def test_every_code_is_listed_at_some_route() -> None:
    listed = set(NOWHERE).union(*(described_codes(operation) for operation in OPERATIONS))
    of_streams = {code for code, meaning in CODES.items() if meaning.text.startswith("WebSocket: ")}
    assert listed == CODES.keys() - of_streams
    assert document()["x-codes"].keys() == CODES.keys()


def test_every_example_of_a_body_fits_its_schema() -> None:
    contents = [op["requestBody"]["content"]["application/json"] for op in OPERATIONS if "requestBody" in op]
    assert contents
    for content in contents:
        checker = validator(content["schema"])
        assert content["examples"]
        for title, example in content["examples"].items():
            assert not list(checker.iter_errors(example["value"])), title
        assert not checker.is_valid({"no": "such field"})


def test_every_example_within_a_schema_fits_it() -> None:
    found = 0

    def walk(node: Any) -> None:
        nonlocal found
        if isinstance(node, dict):
            for example in node.get("examples", ()) if isinstance(node.get("examples"), list) else ():
                found += 1
                assert validator(node).is_valid(example), node
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)

    walk(document())
    assert found > 100


def test_operation_ids_are_unique_and_stay_as_they_are() -> None:
    ids = [operation["operationId"] for operation in OPERATIONS]
    assert len(set(ids)) == len(ids)
    assert {f"{route.method} {path_of(route)}": route.operation for route in ROUTES} == OPERATION_IDS
    assert all(operation_of(route)["operationId"] == route.operation for route in ROUTES)


def test_links_lead_to_operations() -> None:
    links = re.findall(r'"links": \{.*?\}\}\}', json.dumps(document()))
    targets = set(re.findall(r'"operationId": "(\w+)", "parameters": \{"(\w+)"', "".join(links)))
    assert len(targets) >= 10
    for target, parameter in targets:
        (operation,) = (op for op in OPERATIONS if op["operationId"] == target)
        assert parameter in {row["name"] for row in operation["parameters"]}


@EVERY_ROUTE
def test_summaries_are_short_and_say_what_to_do(route: Route) -> None:
    operation = operation_of(route)
    summary = operation["summary"]
    verbs = (
        "Place", "Cancel", "Change", "Look up", "List", "Make", "Revoke", "Retry", "Give up on", "Reconcile",
        "Verify", "Halt",
        "Resume", "Set", "Ask", "Register", "Pause", "Rotate", "Remove", "Replay", "Credit", "Debit", "Correct",
    )  # fmt: skip
    assert re.match(rf"({'|'.join(verbs)}) ", summary), summary
    assert 8 <= len(summary) <= 50, summary
    assert not re.search(r"[.:;`{\n]", summary), summary
    assert operation["description"]
    assert operation["tags"][0] in {tag["name"] for tag in document()["tags"]}


def test_bodies_and_answers_have_no_field_that_is_not_described() -> None:
    for name, schema in document()["components"]["schemas"].items():
        if "properties" in schema:
            assert schema["additionalProperties"] is False, name


@pytest.mark.parametrize(("arguments", "read"), [((), json.loads), (("--yaml",), yaml.safe_load)])
def test_the_command_prints_it(arguments: tuple[str, ...], read: Any) -> None:
    outcome = CliRunner().invoke(main, ["openapi", *arguments])
    assert outcome.exit_code == 0, outcome.output
    assert read(outcome.output) == json.loads(json.dumps(document()))
    assert outcome.output.startswith("{") == (not arguments)
