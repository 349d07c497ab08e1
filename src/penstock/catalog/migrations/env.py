"""Alembic's entry: runs the migrations on the connection, and in the transaction, that ``catalog.migrate`` hands over."""

from typing import Any, Literal

from alembic import context

from penstock.catalog.dialect import Choice, Json
from penstock.catalog.schema import metadata


def _plain(kind: str, item: Any, _autogen: object) -> str | Literal[False]:
    """A migration outlives this program's own types, so a generated one names what they are in the database."""
    if kind == "type" and isinstance(item, Choice):
        return "sa.String(length=32)"
    if kind == "type" and isinstance(item, Json):
        return "sa.Text()"
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_item=_plain,
)
context.run_migrations()
