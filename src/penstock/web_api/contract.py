"""The OpenAPI document: each service's own, and all of them as the one contract that is checked in."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from penstock.web_api.problems import Problem

_OPERATIONS = frozenset({"/health", "/status", "/metrics"})  # every service has them, on its own port


class Described(Protocol):
    """A service that has a document of its own."""

    @property
    def openapi(self) -> Callable[[], dict[str, Any]]:
        """Makes the document."""
        ...


class ContractConflict(RuntimeError):
    """Two services claim one path, or mean different things by one schema name: a mistake in the code."""


def install(app: FastAPI) -> None:
    """Makes ``app.openapi()`` include the schema of problems, which responses refer to by name."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def merged(apps: Iterable[Described], *, title: str, version: str, description: str) -> dict[str, Any]:
    """One document for all services as a client behind one address sees them. Raises :class:`ContractConflict`."""
    paths: dict[str, Any] = {}
    components: dict[str, dict[str, Any]] = {}
    for app in apps:
        document = app.openapi()
        for path, item in document["paths"].items():
            if path in paths and path not in _OPERATIONS:
                raise ContractConflict(f"two services define {path}")
            paths.setdefault(path, item)
        for kind, named in document.get("components", {}).items():
            known = components.setdefault(kind, {})
            for name, schema in named.items():
                if known.setdefault(name, schema) != schema:
                    raise ContractConflict(f"two services mean different things by {kind}/{name}")
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": description},
        "paths": dict(sorted(paths.items())),
        "components": {kind: dict(sorted(named.items())) for kind, named in sorted(components.items())},
    }


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(schema.pop("$defs", {}))
    schemas["Problem"] = schema
    return document
