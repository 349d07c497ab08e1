"""What SQLite and PostgreSQL say differently: the clock, the insert that tolerates an existing row, column types.

Everything else of the catalog is written once in SQLAlchemy Core; a difference that appears goes here.
"""

import json
from enum import StrEnum
from typing import Any, Generic, TypeVar

from sqlalchemy import BigInteger, Connection, Dialect, String, Table, Text, TypeDecorator
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from typing_extensions import override  # typing.override needs Python 3.12

E = TypeVar("E", bound=StrEnum)


class now_ms(FunctionElement[int]):  # noqa: N801 - reads as the SQL function it is
    """The database's own clock: UTC milliseconds since the Unix epoch, at the moment the statement runs.

    Leases are judged by it alone, so that nodes need not agree about the time. PostgreSQL's ``now()`` would be wrong: it
    stands still at the start of the transaction, which may have waited for a lock.
    """

    type = BigInteger()
    name = "now_ms"
    inherit_cache = True


@compiles(now_ms, "sqlite")
def _now_sqlite(element: now_ms, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ARG001 - SQLAlchemy's signature
    return "CAST(ROUND((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"


@compiles(now_ms, "postgresql")
def _now_postgresql(element: now_ms, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ARG001 - SQLAlchemy's signature
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"


def insert(tx: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An ``INSERT`` that knows ``on_conflict_do_nothing`` and ``on_conflict_do_update``, for the database at hand."""
    return postgresql.insert(table) if tx.dialect.name == "postgresql" else sqlite.insert(table)


class Choice(TypeDecorator[E], Generic[E]):
    """A ``StrEnum`` stored as its text: readable in the database and no migration when a member is added."""

    impl = String(32)
    cache_ok = True

    def __init__(self, choices: type[E]) -> None:
        super().__init__()
        self.choices = choices

    @override
    def process_bind_param(self, value: E | None, dialect: Dialect) -> str | None:
        """The member's text."""
        return None if value is None else str(self.choices(value))

    @override
    def process_result_value(self, value: Any | None, dialect: Dialect) -> E | None:
        """The member of the text."""
        return None if value is None else self.choices(value)


class Json(TypeDecorator[Any]):
    """A JSON document stored as text, the same on both databases; ``None`` is SQL ``NULL``."""

    impl = Text
    cache_ok = True

    @override
    def process_bind_param(self, value: Any | None, dialect: Dialect) -> str | None:
        """The document as compact JSON, keys in order."""
        return None if value is None else json.dumps(value, separators=(",", ":"), sort_keys=True)

    @override
    def process_result_value(self, value: Any | None, dialect: Dialect) -> Any:
        """The document of the JSON."""
        return None if value is None else json.loads(value)
