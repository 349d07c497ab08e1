from copy import deepcopy
from typing import Any

import pytest

from penstock.cli.compatibility import incompatibilities

VIDEO = {
    "type": "object",
    "required": ["id", "state"],
    "properties": {
        "id": {"type": "string"},
        "state": {"type": "string", "enum": ["pending", "ready"]},
        "title": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "parent": {"$ref": "#/components/schemas/Video"},
        "rungs": {"type": "array", "items": {"$ref": "#/components/schemas/Rung"}},
    },
}
RUNG = {"type": "object", "required": ["height"], "properties": {"height": {"type": "integer"}}}
REQUEST = {
    "type": "object",
    "required": ["filename"],
    "properties": {
        "filename": {"type": "string", "maxLength": 255},
        "size": {"type": "integer", "minimum": 1},
        "transport": {"type": "string", "enum": ["put", "direct"]},
    },
}


@pytest.fixture
def document() -> dict[str, Any]:
    """A small interface with everything the comparison knows: parameters, a body, answers, recursion."""
    return {
        "openapi": "3.1.0",
        "paths": {
            "/api/videos/{video_id}": {
                "get": {
                    "parameters": [
                        {"in": "path", "name": "video_id", "required": True, "schema": {"type": "string"}},
                        {"in": "query", "name": "limit", "schema": {"type": "integer", "maximum": 100}},
                    ],
                    "responses": {
                        "200": {
                            "content": {
                                "application/json": {"schema": {"$ref": "#/components/schemas/Video"}}
                            }
                        },
                        "404": {"content": {"application/problem+json": {"schema": {"type": "object"}}}},
                    },
                }
            },
            "/api/uploads": {
                "post": {
                    "requestBody": {
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Request"}}}
                    },
                    "responses": {"201": {"content": {}}},
                }
            },
        },
        "components": {
            "schemas": {"Video": deepcopy(VIDEO), "Rung": deepcopy(RUNG), "Request": deepcopy(REQUEST)}
        },
    }


def at(document: Any, path: str) -> Any:
    """The node at a path of keys separated by spaces."""
    for key in path.split():
        document = document[int(key) if isinstance(document, list) else key]
    return document


GET = "paths /api/videos/{video_id} get"
POST = "paths /api/uploads post"


def test_a_document_may_replace_itself(document: dict[str, Any]) -> None:
    """Nothing changed, nothing breaks; recursion ends."""
    assert incompatibilities(document, deepcopy(document)) == []


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        ("paths", "/api/cluster", {"get": {"responses": {}}}),
        ("components schemas Video properties", "poster", {"type": "string"}),
        ("components schemas Video properties state", "enum", ["pending", "ready", "archived"]),
        ("components schemas Video", "required", ["id", "state", "title"]),
        ("components schemas Video properties", "title", {"type": "string"}),
        ("components schemas Request properties", "title", {"type": "string"}),
        ("components schemas Request properties filename", "maxLength", 1000),
        ("components schemas Request properties transport", "enum", ["put", "direct", "tus"]),
        ("components schemas Request properties", "size", {"type": "number", "minimum": 0}),
        ("components schemas Request", "required", []),
        (f"{GET} responses", "429", {"content": {}}),
        (f"{GET} parameters 1 schema", "maximum", 500),
    ],
)
def test_additions_break_nothing(document: dict[str, Any], path: str, key: str, value: Any) -> None:
    """New paths, fields, answers and accepted values are compatible."""
    present = deepcopy(document)
    at(present, path)[key] = value
    assert incompatibilities(document, present) == []


def test_the_name_of_a_path_parameter_is_no_part_of_the_contract(document: dict[str, Any]) -> None:
    """A client fills a place in the path; what the document calls it does not matter."""
    present = deepcopy(document)
    present["paths"]["/api/videos/{id}"] = present["paths"].pop("/api/videos/{video_id}")
    at(present, "paths /api/videos/{id} get parameters 0")["name"] = "id"
    assert incompatibilities(document, present) == []


@pytest.mark.parametrize(
    ("path", "key", "complaint"),
    [
        ("paths", "/api/uploads", "/api/uploads: the path is gone"),
        ("paths /api/uploads", "post", "POST /api/uploads: the method is gone"),
        (f"{GET} responses", "404", "GET /api/videos/{video_id}: response 404 is gone"),
        (f"{GET} parameters", "1", "GET /api/videos/{video_id}: query parameter 'limit' is gone"),
        (POST, "requestBody", "POST /api/uploads: the request body is gone"),
        (
            f"{GET} responses 200 content",
            "application/json",
            "GET /api/videos/{video_id}: response 200: media type application/json is gone",
        ),
        (
            "components schemas Video properties",
            "title",
            "GET /api/videos/{video_id}: response 200.title: the field is gone",
        ),
        (
            "components schemas Rung properties",
            "height",
            "GET /api/videos/{video_id}: response 200.rungs[].height: the field is gone",
        ),
        (
            "components schemas Request properties",
            "size",
            "POST /api/uploads: request.size: the field is gone",
        ),
    ],
)
def test_removals_break_clients(document: dict[str, Any], path: str, key: str, complaint: str) -> None:
    """Whatever a client may use and no longer finds is named with its place."""
    present = deepcopy(document)
    node = at(present, path)
    del node[int(key) if isinstance(node, list) else key]
    assert incompatibilities(document, present) == [complaint]


@pytest.mark.parametrize(
    ("path", "key", "value", "complaint"),
    [
        ("components schemas Request", "required", ["filename", "size"], "POST /api/uploads: request.size: the field is now required"),
        ("components schemas Request properties filename", "maxLength", 10, "POST /api/uploads: request.filename: maxLength is tighter (255 before, 10 now)"),
        ("components schemas Request properties filename", "pattern", "^a", "POST /api/uploads: request.filename: the pattern changed"),
        ("components schemas Request properties size", "minimum", 5, "POST /api/uploads: request.size: minimum is tighter (1 before, 5 now)"),
        ("components schemas Request properties transport", "enum", ["put"], "POST /api/uploads: request.transport: value 'direct' is no longer accepted"),
        ("components schemas Request properties", "size", {"type": "string"}, "POST /api/uploads: request.size: type integer is no longer accepted"),
        ("components schemas Video", "required", ["id"], "GET /api/videos/{video_id}: response 200.state: the field may now be missing"),
        ("components schemas Video properties", "id", {"type": "integer"}, "GET /api/videos/{video_id}: response 200.id: type integer is new"),
        ("components schemas Rung properties", "height", {"type": "number"}, "GET /api/videos/{video_id}: response 200.rungs[].height: type number is new"),
        ("components schemas Video properties", "id", {"anyOf": [{"type": "string"}, {"type": "null"}]}, "GET /api/videos/{video_id}: response 200.id: type null is new"),
        (f"{GET} parameters 1", "required", True, "GET /api/videos/{video_id}: query parameter 'limit' is now required"),
        (f"{POST} requestBody", "required", True, "POST /api/uploads: the request body is now required"),
    ],
)  # fmt: skip
def test_narrower_requests_and_wider_answers_break_clients(
    document: dict[str, Any], path: str, key: str, value: Any, complaint: str
) -> None:
    """A new obligation, a refused value or an unexpected type is named with its place."""
    present = deepcopy(document)
    at(present, path)[key] = value
    assert incompatibilities(document, present) == [complaint]


def test_a_new_required_field_and_parameter_break_clients(document: dict[str, Any]) -> None:
    """Clients of the former version cannot know that they must send them."""
    present = deepcopy(document)
    request = present["components"]["schemas"]["Request"]
    request["properties"]["sha256"] = {"type": "string"}
    request["required"].append("sha256")
    at(present, f"{GET} parameters").append({"in": "header", "name": "X", "required": True, "schema": {}})
    assert incompatibilities(document, present) == [
        "GET /api/videos/{video_id}: header parameter 'X' is new and required",
        "POST /api/uploads: request.sha256: the field is new and required",
    ]


def test_parts_that_are_put_together_are_compared_as_one(document: dict[str, Any]) -> None:
    """A schema divided with allOf says the same as the whole one."""
    present = deepcopy(document)
    schemas = present["components"]["schemas"]
    schemas["Base"] = schemas["Rung"]
    schemas["Rung"] = {"allOf": [{"$ref": "#/components/schemas/Base"}]}
    assert incompatibilities(document, present) == []
