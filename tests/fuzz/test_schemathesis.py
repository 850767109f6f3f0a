"""Schemathesis, which makes up requests from the contract, good and bad: what it finds, and whether it looked."""

from tests.fuzz.conftest import CONTRACT, Run

OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in CONTRACT["paths"].items()
    for method, operation in methods.items()
}
WITH_PARAMETERS = {name for name, operation in OPERATIONS.items() if "parameters" in operation}
WITH_TOKENS = {name for name, operation in OPERATIONS.items() if operation.get("security", CONTRACT["security"])}

PHASES = {"examples", "coverage", "fuzzing", "stateful"}
CHECKS = {
    "allow_header_conformance",
    "content_type_conformance",
    "ensure_resource_availability",
    "ignored_auth",
    "missing_required_header",
    "negative_data_rejection",
    "not_a_server_error",
    "object_level_authorization",
    "positive_data_acceptance",
    "response_headers_conformance",
    "response_schema_conformance",
    "status_code_conformance",
    "unsupported_method",
    "use_after_free",
}


def test_it_finds_nothing_wrong(fuzzed: Run) -> None:
    assert fuzzed.code == 0, fuzzed.said


def test_every_operation_did_what_it_was_asked(fuzzed: Run) -> None:
    assert {each.operation for each in fuzzed.made if each.is_good and each.status in {200, 204}} == OPERATIONS.keys()


def test_every_operation_with_parameters_refused_what_is_not_as_the_contract_says(fuzzed: Run) -> None:
    refused = {each.operation for each in fuzzed.made if not each.is_good and each.status in {400, 403}}
    assert refused == WITH_PARAMETERS


def test_every_operation_that_takes_a_token_was_tried_without_a_good_one(fuzzed: Run) -> None:
    tried = {each.operation for each in fuzzed.made if each.status == 401}
    assert tried == (WITH_TOKENS if fuzzed.mode.tokens else set())


def test_what_one_project_sees_was_asked_for_by_another(fuzzed: Run) -> None:
    callers = {each.caller for each in fuzzed.made if each.caller}
    assert callers == (fuzzed.mode.tokens.keys() if len(fuzzed.mode.tokens) > 1 else set())


def test_every_check_was_made_in_every_phase(fuzzed: Run) -> None:
    made: dict[str, frozenset[str]] = dict.fromkeys(PHASES, frozenset())
    for each in fuzzed.made:
        made[each.phase] |= each.checks
    assert made == dict.fromkeys(PHASES, CHECKS)
