from penstock.catalog import Catalog, backlog, claims, tasks, videos
from penstock.catalog.words import TaskState
from tests.contract.catalog import scenes


def test_what_was_given_up_comes_first_and_what_is_done_not_at_all(catalog: Catalog) -> None:
    """Then what is under way, then what waits; nothing that was called off, and nothing of deleted videos."""
    scene = scenes.encoding(catalog, chunks=3, required=False)
    dead, running, waiting = scene.chunks
    for task in (dead, running):
        scenes.take(catalog, task.id, scene.worker)
    with catalog.write() as tx:
        claims.fail(
            tx, dead.id, scene.worker.id, 1, code="tool_failed", message="It fell over.", permanent=True
        )
    with catalog.read() as tx:
        found = [(task.id, task.state) for task in backlog.listing(tx)]
        given_up = backlog.listing(tx, states=(TaskState.DEAD,))
    assert found[0] == (dead.id, TaskState.DEAD)
    assert found[1] == (running.id, TaskState.CLAIMED)
    assert (waiting.id, TaskState.QUEUED) in found[2:]
    assert [(task.id, task.error_code) for task in given_up] == [(dead.id, "tool_failed")]
    with catalog.write() as tx:
        assert len(backlog.listing(tx, limit=1)) == 1
        tasks.cancel_all(tx, scene.generation.id)
        assert [task.id for task in backlog.listing(tx)] == [dead.id]
        videos.delete(tx, scene.video.id, who="test")
        assert backlog.listing(tx) == []
