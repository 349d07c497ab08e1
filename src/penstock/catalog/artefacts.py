"""Objects of a generation beside its tracks: the poster, captions, the packet index."""

from sqlalchemy import Connection, select

from penstock.catalog import garbage, schema
from penstock.catalog.dialect import insert
from penstock.catalog.records import ArtefactRecord, load
from penstock.video import keys, timeline

_ETAG_DIGITS = 32  # of the SHA-256, see video.timeline
_REPLACED_AFTER_MS = 600_000  # players take the timeline that names the new one within a minute


def record(tx: Connection, artefact: ArtefactRecord) -> None:
    """Records a durable object under its name; a later attempt's replaces an earlier one's, which goes to the collector."""
    table = schema.artefacts
    mine = (table.c.generation_id == artefact.generation_id, table.c.name == artefact.name)
    replaced = tx.execute(select(table.c.key).where(*mine)).scalar_one_or_none()
    if replaced is not None and replaced != artefact.key:
        garbage.add(
            tx,
            "outputs",
            replaced,
            reason="artefact_replaced",
            video_id=keys.video_of(replaced),
            delay_ms=_REPLACED_AFTER_MS,
        )
    values = {column.name: getattr(artefact, column.name) for column in table.c}
    tx.execute(
        insert(tx, table)
        .values(values)
        .on_conflict_do_update(index_elements=["generation_id", "name"], set_=values)
    )


def listing(tx: Connection, generation_id: str) -> list[ArtefactRecord]:
    """A generation's artefacts by name."""
    table = schema.artefacts
    rows = tx.execute(select(table).where(table.c.generation_id == generation_id).order_by(table.c.name))
    return [load(ArtefactRecord, row) for row in rows]


def as_timeline(artefact: ArtefactRecord) -> timeline.Artefact:
    """An artefact as a timeline names it."""
    return timeline.Artefact(
        name=artefact.name,
        key=artefact.key,
        size=artefact.size,
        etag=artefact.sha256[:_ETAG_DIGITS],
        media_type=artefact.media_type,
        language=artefact.language,
        label=artefact.label,
    )
