"""The events of a transaction, logged once it is committed: a line of the log never tells of what was undone."""

from collections.abc import Sequence

import structlog
from sqlalchemy import Connection

from penstock.catalog.records import Event

_KEY = "penstock_events"
_log = structlog.get_logger()


def begin(tx: Connection) -> None:
    """Starts collecting; ``Connection.info`` outlives the transaction, so what an undone one left is dropped."""
    tx.info[_KEY] = []


def add(tx: Connection, event: Event) -> None:
    """Remembers an event that this transaction wrote."""
    tx.info.setdefault(_KEY, []).append(event)


def end(tx: Connection) -> Sequence[Event]:
    """What was written since :func:`begin`."""
    written: list[Event] = tx.info.pop(_KEY, [])
    return written


def log(written: Sequence[Event]) -> None:
    """One line per event, named after it."""
    for item in written:
        facts = {
            "video_id": item.video_id,
            "number": item.number,
            "who": item.who,
            "from_state": item.from_state,
            "to_state": item.to_state,
            "why": item.why,
            "generation_id": item.generation_id,
            "task_id": item.task_id,
        }
        data = {key: value for key, value in (item.data or {}).items() if key not in facts and key != "event"}
        name = item.event if item.event.startswith(("generation_", "task_")) else f"video_{item.event}"
        _log.info(name, **{key: value for key, value in facts.items() if value is not None}, **data)
