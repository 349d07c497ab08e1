"""Claims: who works on a task, when another may take over, and how an attempt ends.

A claim is (worker, attempt). Every function that ends or uses one locks the generation and compares both first, so the
commit of a zombie, an attempt that was taken over, is refused with :class:`StaleClaim` and changes nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, or_, select

from penstock.catalog import accounts, clock, events, generations, schema, states, tasks, workers
from penstock.catalog.dialect import now_ms
from penstock.catalog.records import Generation, NewTask, Task, Worker
from penstock.catalog.retries import DEFAULT_POLICY, RetryPolicy
from penstock.catalog.words import TaskState
from penstock.video.errors import Conflict, PermanentError, StaleClaim


class WorkerLost(PermanentError):
    """A task whose workers vanish again and again is taken to be what kills them, and given up."""

    code = "worker_lost"
    title = "Lost with its workers"


class Outcome(StrEnum):
    """What became of the wish to claim a task. Only ``taken`` permits to work; every message but an early one is done."""

    TAKEN = "taken"
    OWN = "own"  # the worker runs it already
    BUSY = "busy"  # another's claim is in force
    FINISHED = "finished"  # done or dead
    EARLY = "early"  # its back-off has not passed; it will be announced again
    MISSING = "missing"
    FOREIGN_TOOLS = "foreign_tools"  # the plan pins other tools


@dataclass(frozen=True, slots=True)
class Claim:
    """The outcome and, where taken, the task with its new attempt. ``alone``: run nothing else in this process."""

    outcome: Outcome
    task: Task | None = None
    alone: bool = False


@dataclass(frozen=True, slots=True)
class DeadNodes:
    """Nodes that somebody holds dead. It counts against a worker of theirs that has been silent for ``silent_ms``.

    So a wrong word costs nothing: who lives renews its lease, and keeps its claims however often it is declared dead.
    """

    names: Collection[str] = ()
    silent_ms: int = 4_000


NOBODY = DeadNodes()


def claim(
    tx: Connection,
    task_id: str,
    worker_id: str,
    *,
    message_id: str | None = None,
    redelivered: bool = False,
    dead: DeadNodes = NOBODY,
    policy: RetryPolicy = DEFAULT_POLICY,
) -> Claim:
    """Takes a queued task, or one whose worker is lost: see :func:`_lost` and the rule of redelivered messages.

    Raises :class:`Conflict` where the worker itself is not alive by the database's clock: it must renew its lease first.
    """
    worker = workers.find(tx, worker_id)
    if worker is None or worker.lease_until <= clock.now(tx):
        raise Conflict(
            "The worker's lease has expired; renew it before claiming.", code="worker_lease_expired"
        )
    unlocked = tasks.find(tx, task_id)
    if unlocked is None:
        return Claim(Outcome.MISSING)
    states.lock_generation(tx, unlocked.generation_id)
    task = tasks.get(tx, task_id)
    if task.state in {TaskState.DONE, TaskState.DEAD}:
        return Claim(Outcome.FINISHED)
    if task.tool_fingerprint is not None and task.tool_fingerprint != worker.tool_fingerprint:
        return Claim(Outcome.FOREIGN_TOOLS)
    if task.state is TaskState.QUEUED:
        if task.not_before > clock.now(tx):
            _update(tx, task, announced_at=None)
            return Claim(Outcome.EARLY)
        return _take(tx, task, worker, message_id, policy)
    if task.worker_id == worker_id:
        return Claim(Outcome.OWN)
    again = redelivered and message_id is not None and task.message_id == message_id
    if not again and not _is_lost(tx, task, dead):
        return Claim(Outcome.BUSY)
    why = "its message was delivered again" if again else "its worker is lost"
    released = _lose(tx, task, who=f"worker:{worker_id}", why=why, policy=policy)
    if released.state is not TaskState.QUEUED:
        return Claim(Outcome.FINISHED)
    return _take(tx, released, worker, message_id, policy)


def hold(tx: Connection, task_id: str, worker_id: str, attempt: int) -> tuple[Task, Generation]:
    """Locks the generation and checks that the claim is in force. Raises :class:`StaleClaim`.

    The first call of every commit, partial ones (an audio track's segments so far) included.
    """
    task = tasks.find(tx, task_id)
    if task is None:
        raise StaleClaim("The task no longer exists.")
    generation = states.lock_generation(tx, task.generation_id)
    task = tasks.get(tx, task_id)
    if (task.state, task.worker_id, task.attempt) != (TaskState.CLAIMED, worker_id, attempt):
        raise StaleClaim("The task was taken over, finished or called off meanwhile.")
    return task, generation


def commit(
    tx: Connection,
    task_id: str,
    worker_id: str,
    attempt: int,
    *,
    result: Mapping[str, Any] | None = None,
    follow_ups: Sequence[NewTask] = (),
) -> Task:
    """Finishes a task. What it derives from other tasks it sees under the generation's lock, with all earlier commits.

    ``follow_ups`` are queued in the same generation. Raises :class:`StaleClaim`.
    """
    task, _ = hold(tx, task_id, worker_id, attempt)
    now = clock.now(tx)
    _update(tx, task, state=TaskState.DONE, result=dict(result or {}), progress=1.0, ended_at=now)
    tasks.enqueue(tx, task.generation_id, follow_ups)
    generations.refresh_progress(tx, task.generation_id)
    accounts.served(tx, task.account_id, max(0, now - (task.claimed_at or now)) / 1000)
    return tasks.get(tx, task_id)


def progress(tx: Connection, task_id: str, worker_id: str, attempt: int, value: float) -> None:
    """Notes how far (0..1) an attempt has come. Raises :class:`StaleClaim`."""
    task, _ = hold(tx, task_id, worker_id, attempt)
    _update(tx, task, progress=min(max(value, 0.0), 1.0))
    generations.refresh_progress(tx, task.generation_id)


def fail(
    tx: Connection,
    task_id: str,
    worker_id: str,
    attempt: int,
    *,
    code: str,
    message: str,
    permanent: bool,
    counted: bool = True,
    delay_ms: int | None = None,
    policy: RetryPolicy = DEFAULT_POLICY,
) -> Task:
    """Ends an attempt that failed: queued again after a back-off, or dead when permanent or tried too often.

    ``counted=False`` is for a cause outside the task, such as a full disk: it waits, and its budget is untouched.
    ``delay_ms`` takes the place of the back-off where the task waits for something else, see :func:`tasks.hasten`.
    A required task that dies takes its generation along. Raises :class:`StaleClaim`.
    """
    task, _ = hold(tx, task_id, worker_id, attempt)
    tasks.discard_attempt(tx, task)
    failures = task.failures + (1 if counted else 0)
    who = f"worker:{worker_id}"
    if permanent or failures >= policy.max_failures:
        return _bury(tx, task, who=who, code=code, message=message, failures=failures)
    # What does not count waits longer each time all the same, or an outage of minutes would use up all patience.
    waits = failures if counted else task.attempt
    delay = policy.delay_ms(max(waits, 1)) if delay_ms is None else delay_ms
    _update(
        tx,
        task,
        state=TaskState.QUEUED,
        failures=failures,
        not_before=now_ms() + delay,
        error_code=code,
        error_message=message,
        **_UNCLAIMED,
    )
    _tell(tx, task, "task_failed", who=who, why=message, code=code, failures=failures, again_in_ms=delay)
    return tasks.get(tx, task_id)


def release(tx: Connection, task_id: str, worker_id: str, attempt: int) -> None:
    """Gives a claim back unfinished and uncounted: the process is stopping. Raises :class:`StaleClaim`."""
    task, _ = hold(tx, task_id, worker_id, attempt)
    tasks.discard_attempt(tx, task)
    _update(tx, task, state=TaskState.QUEUED, **_UNCLAIMED)


def lost(tx: Connection, *, dead: DeadNodes = NOBODY, limit: int = 100) -> list[str]:
    """Claimed tasks whose workers are lost, for :func:`reap`."""
    table = schema.tasks.c
    rows = tx.execute(
        select(table.id)
        .where(table.state == TaskState.CLAIMED, _lost(dead))
        .order_by(table.worker_id, table.id)  # as the index of the claimed has them
        .limit(limit)
    )
    return list(rows.scalars())


def reap(
    tx: Connection, task_id: str, *, dead: DeadNodes = NOBODY, policy: RetryPolicy = DEFAULT_POLICY
) -> Task | None:
    """Queues a task again (or buries it) if its worker is still lost under the lock; None where it is not.

    One task per transaction: so no two generations are ever locked together.
    """
    task = tasks.find(tx, task_id)
    if task is None:
        return None
    states.lock_generation(tx, task.generation_id)
    task = tasks.get(tx, task_id)
    if task.state is not TaskState.CLAIMED or not _is_lost(tx, task, dead):
        return None
    why = "its node was declared dead" if task.node_id in dead.names else "its worker is lost"
    return _lose(tx, task, who="reaper", why=why, policy=policy)


_UNCLAIMED: dict[str, Any] = {"worker_id": None, "message_id": None, "announced_at": None, "progress": 0.0}


def _lost(dead: DeadNodes) -> ColumnElement[bool]:
    """Whether the worker of a claimed task is lost: no lease in force, silent on a dead node, or a later boot of its slot.

    A later boot holds the slot's file lock, which the earlier process must have lost with its life.
    """
    owner, later = schema.workers.alias("owner"), schema.workers.alias("later")
    superseded = exists().where(
        later.c.node_id == owner.c.node_id, later.c.slot == owner.c.slot, later.c.boot > owner.c.boot
    )
    alive = (
        select(owner.c.id)
        .where(
            owner.c.id == schema.tasks.c.worker_id,
            owner.c.lease_until > now_ms(),
            or_(owner.c.node_id.not_in(list(dead.names)), owner.c.renewed_at > now_ms() - dead.silent_ms),
            ~superseded,
        )
        .exists()
    )
    return or_(schema.tasks.c.worker_id.is_(None), ~alive)


def _is_lost(tx: Connection, task: Task, dead: DeadNodes) -> bool:
    found = tx.execute(select(schema.tasks.c.id).where(schema.tasks.c.id == task.id, _lost(dead)))
    return found.one_or_none() is not None


def _take(tx: Connection, task: Task, worker: Worker, message_id: str | None, policy: RetryPolicy) -> Claim:
    _update(
        tx,
        task,
        state=TaskState.CLAIMED,
        attempt=task.attempt + 1,
        worker_id=worker.id,
        node_id=worker.node_id,
        message_id=message_id,
        progress=0.0,
        claimed_at=now_ms(),
    )
    return Claim(Outcome.TAKEN, tasks.get(tx, task.id), alone=task.losses >= policy.alone_after_losses)


def _lose(tx: Connection, task: Task, *, who: str, why: str, policy: RetryPolicy) -> Task:
    """Takes a task from a worker that vanished; it is queued again, or dead if it has cost too many of them."""
    tasks.discard_attempt(tx, task)
    losses = task.losses + 1
    if losses >= policy.dead_after_losses:
        error = WorkerLost(f"{losses} workers vanished while they ran this task.")
        return _bury(tx, task, who=who, code=error.code, message=error.detail, losses=losses)
    _update(tx, task, state=TaskState.QUEUED, losses=losses, not_before=0, **_UNCLAIMED)
    _tell(tx, task, "task_taken_over", who=who, why=why, losses=losses, lost_worker=task.worker_id)
    return tasks.get(tx, task.id)


def _bury(tx: Connection, task: Task, *, who: str, code: str, message: str, **counters: int) -> Task:
    """Gives a task up, with its reason; a required one takes its generation along."""
    _update(
        tx,
        task,
        state=TaskState.DEAD,
        error_code=code,
        error_message=message,
        ended_at=now_ms(),
        **{**_UNCLAIMED, **counters},
    )
    _tell(tx, task, "task_dead", who=who, why=message, code=code, **counters)
    if task.required:
        generations.fail(tx, task.generation_id, code=code, message=message, who=who, task_id=task.id)
    return tasks.get(tx, task.id)


def _update(tx: Connection, task: Task, **values: Any) -> None:
    tx.execute(schema.tasks.update().where(schema.tasks.c.id == task.id).values(**values))


def _tell(tx: Connection, task: Task, event: str, *, who: str, why: str, **data: Any) -> None:
    events.append(
        tx,
        task.video_id,
        event,
        who=who,
        why=why,
        generation_id=task.generation_id,
        task_id=task.id,
        data=tasks.describe(task) | data,
    )
