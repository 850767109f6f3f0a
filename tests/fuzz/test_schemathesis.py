"""Schemathesis generates valid and invalid requests from the contract: no failures, and complete coverage."""

from functools import partial

import pytest

from tests.fuzz.conftest import CONTRACT, PACKAGE, Run
from tests.integration.openstack.component import installed
from tests.support.packages import environment

pytestmark = pytest.mark.external(install=[partial(environment, PACKAGE), installed])

OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in CONTRACT["paths"].items()
    for method, operation in methods.items()
}
WITH_PARAMETERS = {name for name, operation in OPERATIONS.items() if "parameters" in operation}
WITH_TOKENS = {name for name, operation in OPERATIONS.items() if operation.get("security", CONTRACT["security"])}

PHASES = {"examples", "coverage", "fuzzing", "stateful"}
CHECKS = {
    *("allow_header_conformance", "content_type_conformance", "ensure_resource_availability", "ignored_auth"),
    *("missing_required_header", "negative_data_rejection", "not_a_server_error", "object_level_authorization"),
    *("positive_data_acceptance", "response_headers_conformance", "response_schema_conformance"),
    *("status_code_conformance", "unsupported_method", "use_after_free"),
}


def test_no_failure_is_found(fuzzed: Run) -> None:
    assert fuzzed.code == 0, fuzzed.output


def test_each_operation_succeeded_with_valid_requests(fuzzed: Run) -> None:
    assert {
        each.operation for each in fuzzed.requests if each.is_valid and each.status in {200, 204}
    } == OPERATIONS.keys()


def test_each_operation_with_parameters_rejected_invalid_requests(fuzzed: Run) -> None:
    rejected = {each.operation for each in fuzzed.requests if not each.is_valid and each.status in {400, 403}}
    assert rejected == WITH_PARAMETERS


def test_each_secured_operation_was_called_without_valid_token(fuzzed: Run) -> None:
    tried = {each.operation for each in fuzzed.requests if each.status == 401}
    assert tried == (WITH_TOKENS if fuzzed.mode.tokens else set())


def test_resources_of_a_project_were_requested_by_another(fuzzed: Run) -> None:
    callers = {each.caller for each in fuzzed.requests if each.caller}
    assert callers == (fuzzed.mode.tokens.keys() if len(fuzzed.mode.tokens) > 1 else set())


def test_each_check_ran_in_each_phase(fuzzed: Run) -> None:
    checks: dict[str, frozenset[str]] = dict.fromkeys(PHASES, frozenset())
    for each in fuzzed.requests:
        checks[each.phase] |= each.checks
    assert checks == dict.fromkeys(PHASES, CHECKS)
