"""Chunks as tasks: what is queued for a chunk, and which chunk a task stands for."""

from collections.abc import Iterable

from penstock.catalog import artefacts
from penstock.catalog.records import NewTask
from penstock.catalog.words import TaskKind
from penstock.processing import slots, work
from penstock.processing.attempt import Attempt
from penstock.video import documents
from penstock.video import plan as planning
from penstock.video.plan import Chunk, Plan, ScanResult

PACKET_INDEX = "packet-index.json"


def new(plan: Plan, chunks: Iterable[Chunk]) -> list[NewTask]:
    """One task per chunk, each with all it needs to know; the first is urgent, as early play waits for it."""
    memory = slots.encode_memory(plan)
    return [
        NewTask(
            TaskKind.TRANSCODE,
            chunk.index,
            payload={"chunk": documents.to_document(chunk), "memory": memory},
            urgent=chunk.index == 0,
            work=work.chunk(plan, chunk.frames),
            tool_fingerprint=plan.fingerprint or None,
        )
        for chunk in chunks
    ]


def chunk_of(attempt: Attempt, plan: Plan) -> tuple[Chunk, bool]:
    """The chunk to encode, and whether it rests on the header's word: once the packets are known, they decide."""
    chunk = documents.from_document(Chunk, attempt.task.payload["chunk"])
    if chunk.index:
        return chunk, False
    scan = _scan(attempt)
    return (chunk, True) if scan is None else (planning.chunks(plan, scan)[0], False)


def _scan(attempt: Attempt) -> ScanResult | None:
    with attempt.parts.catalog.read() as tx:
        stored = artefacts.listing(tx, attempt.task.generation_id)
    key = next((item.key for item in stored if item.name == PACKET_INDEX), None)
    return None if key is None else ScanResult.from_json(attempt.parts.outputs.get(key))
