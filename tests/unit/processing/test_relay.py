import pytest

from penstock.catalog import claims, schema, tasks
from penstock.catalog.records import NewTask
from penstock.catalog.words import TaskKind
from penstock.processing import relay
from penstock.processing.relay import Candidate
from penstock.processing.runs import Run, Runs
from penstock.processing.slots import Lane
from tests.simulation.scripted import Script
from tests.simulation.workshop import Room, Workshop


def offered(room: Room, *, abreast: int = 8) -> list[Candidate]:
    """What the room is offered now."""
    with room.catalog.read() as tx:
        return list(relay.candidates(tx, room.runs, fingerprint="scripted", losses_alone=3, abreast=abreast))


def names(found: list[Candidate]) -> list[tuple[str, str, int]]:
    """Lane, kind and index of each."""
    return [(str(each.lane), str(each.task.kind), each.task.index) for each in found]


@pytest.fixture
def planned(workshop: Workshop, room: Room) -> str:
    """A video of a minute with sound, inspected and scanned: its chunks, sound and poster are waiting."""
    video_id = workshop.upload(Script("long", frames=1500, header_frames=1500).to_bytes())
    for kind in (TaskKind.INSPECT, TaskKind.SCAN):
        room.do(next(task for task in workshop.tasks(video_id) if task.kind is kind))
    return video_id


def test_what_early_play_waits_for_comes_first(workshop: Workshop, room: Room, planned: str) -> None:
    """First chunks and new sources go before chunks further on, each into its own lane."""
    workshop.upload(Script("new").to_bytes(), login="newcomer")
    found = names(offered(room))
    assert {found[0][1:], found[1][1:]} == {("inspect", 0), ("transcode", 0)}
    assert {found[0][0], found[1][0]} == {"urgent", "encode"}
    assert found[2:4] == [("audio", "audio", 0), ("light", "poster", 0)]
    assert found[4] == ("encode", "transcode", 1)


def test_a_first_chunk_has_a_small_machine_to_itself(workshop: Workshop, room: Room, planned: str) -> None:
    """Later chunks of any video and posters wait for it on two cores; sound, which early play waits for too, does not."""
    found = names(offered(room, abreast=1))
    assert [each for each in found if each[1] == "transcode"] == [("urgent", "transcode", 0)]
    assert ("audio", "audio", 0) in found
    assert not [each for each in found if each[1] == "poster"]
    room.do(next(task for task in workshop.tasks(planned) if task.kind is TaskKind.TRANSCODE and task.urgent))
    found = names(offered(room, abreast=1))
    assert [each for each in found if each[1] == "transcode"] == [
        ("encode", "transcode", 1),
        ("encode", "transcode", 2),
    ]
    assert ("light", "poster", 0) in found


def test_a_full_house_still_has_a_place_for_a_newcomer(workshop: Workshop, room: Room, planned: str) -> None:
    """With every encoder busy, a new source is looked at and its first chunk begun."""
    for number in (1, 2):
        task = next(
            task
            for task in workshop.tasks(planned)
            if (task.kind, task.index) == (TaskKind.TRANSCODE, number)
        )
        with workshop.catalog.write() as tx:
            taken = claims.claim(tx, task.id, room.lease.worker_id).task
        assert taken is not None
        room.runs.add(Run(taken, Lane.ENCODE))
    workshop.upload(Script("new").to_bytes(), login="newcomer")
    found = names(offered(room))
    assert ("urgent", "inspect", 0) in found
    assert not [each for each in found if each[0] == "encode"]


def test_no_more_is_offered_than_there_are_places(workshop: Workshop, room: Room) -> None:
    """Twenty new videos get the urgent place and the encoders' places."""
    for number in range(20):
        workshop.upload(Script(f"video {number}").to_bytes())
    found = offered(room)
    assert len(found) == room.runs.places[Lane.URGENT] + room.runs.places[Lane.ENCODE]


def test_encodes_share_the_memory(workshop: Workshop, room: Room, planned: str) -> None:
    """A second large picture waits until the first is done, though a place is free; alone it may always run."""
    room.runs = Runs(room.runs.places, memory_budget=1)
    found = [each for each in offered(room) if each.task.kind is TaskKind.TRANSCODE]
    assert len(found) == 1
    assert found[0].memory > 1


def test_a_task_that_costs_workers_runs_alone(workshop: Workshop, room: Room, planned: str) -> None:
    """After three vanished workers it is offered to an idle process only, and a busy one takes nothing until it is idle."""
    video_id = workshop.upload(Script("deadly").to_bytes(), login="other")
    (task,) = workshop.tasks(video_id)
    with workshop.catalog.write() as tx:
        tx.execute(schema.tasks.update().where(schema.tasks.c.id == task.id).values(losses=3))
        tx.execute(
            schema.accounts.update()
            .where(schema.accounts.c.login == "ann")
            .values(served=1e9, served_at=2**50)
        )
    assert names(offered(room)) == [("urgent", "inspect", 0)]
    busy = Run(task, Lane.LIGHT)
    room.runs.add(busy)
    assert offered(room) == []


def test_work_for_other_tools_is_not_offered(workshop: Workshop, room: Room, planned: str) -> None:
    """A plan pins the tools that its bytes depend on."""
    with workshop.catalog.write() as tx:
        generation_id = workshop.tasks(planned)[0].generation_id
        tasks.enqueue(tx, generation_id, [NewTask(TaskKind.CAPTIONS, 7, tool_fingerprint="other")])
    assert 7 not in [each.task.index for each in offered(room)]
