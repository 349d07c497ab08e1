from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok

from tests.contract.library.conftest import Instance

load_all_checks()
_CHECKS: list[Any] = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
        "unsupported_method",
    ]
)


def test_every_answer_is_one_that_the_document_describes(instance: Instance) -> None:
    """Requests made up from the OpenAPI document, valid and not, by every kind of caller, never break the service."""
    for until in ("pending", "ready", "failed"):
        instance.video(until=until)
    schema = schemathesis.openapi.from_asgi("/openapi.json", instance.client.app).include(path_regex="^/api")
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found

        @settings(
            max_examples=15,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=found.ok().as_strategy())
        def holds(case: Case[Any]) -> None:
            for caller in ("olga", "adam", None):
                answer = case.call(headers=instance.headers(caller))
                case.validate_response(answer, checks=_CHECKS)

        holds()
