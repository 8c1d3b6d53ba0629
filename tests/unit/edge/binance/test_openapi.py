"""The description of the face for clients of Binance is valid, whole and true to its route table."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from click.testing import CliRunner
from schemathesis.specs.openapi.definitions import OPENAPI_31

import trade_engine.edge.binance
from trade_engine.cli import main
from trade_engine.edge.binance.openapi.answers import ANSWERS
from trade_engine.edge.binance.openapi.document import describe
from trade_engine.edge.binance.refusals import _BY_CODE, NUMBERS
from trade_engine.edge.binance.routes import BINANCE_ROUTES
from trade_engine.edge.rest.route import Route

DOCUMENT = describe(BINANCE_ROUTES)
SOURCE = Path(trade_engine.edge.binance.__file__).parent
#: Those that only the WebSocket API has.
OF_SOCKETS = {-1135, -1002}


def test_it_is_valid_openapi_3_1() -> None:
    metaschema = jsonschema_rs.Draft202012Validator(OPENAPI_31)
    assert [str(error) for error in metaschema.iter_errors(DOCUMENT)] == []


def test_every_route_is_described_and_nothing_else() -> None:
    described = {f"{method.upper()} {path}" for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert described == {f"{route.method} {route.path}" for route in BINANCE_ROUTES} == ANSWERS.keys()
    operations = [operation for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["summary"] for operation in operations)


@pytest.mark.parametrize("route", BINANCE_ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_route_names_its_parameters_once(route: Route) -> None:
    names = [parameter.name for parameter in route.parameters]
    assert len(set(names)) == len(names)
    assert all(parameter.description and parameter.name.isalnum() for parameter in route.parameters)


def test_every_number_that_the_code_answers_is_described() -> None:
    text = "".join(path.read_text() for path in SOURCE.glob("*.py"))
    written = {int(number) for number in re.findall(r"(?:Numbered|Shown)\([^-)]*?(-[12][0-9]{3})\b", text)}
    written |= {int(number) for number in re.findall(r"^_?NO_\w+: Final = \((-[12][0-9]{3}),", text, re.MULTILINE)}
    written |= {shown.number for shown in _BY_CODE.values()}
    assert len(written) > 30
    assert written - OF_SOCKETS == NUMBERS.keys()


@pytest.mark.parametrize(("arguments", "read"), [((), json.loads), (("--yaml",), yaml.safe_load)])
def test_the_command_prints_it(arguments: tuple[str, ...], read: Any) -> None:
    outcome = CliRunner().invoke(main, ["openapi", "--face", "binance", *arguments])
    assert outcome.exit_code == 0, outcome.output
    assert read(outcome.output) == json.loads(json.dumps(DOCUMENT))
