"""Running claims: one thread per run, from the claim to its recorded outcome.

It decides what an error means for the task, and makes sure that no claim is left behind: every run ends as done, failed,
released, or with a claim that is somebody else's by then. What a task does is in ``tasks``; which one runs is the
dispatcher's choice.
"""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing

import structlog
from opentelemetry import propagate, trace
from sqlalchemy import Connection

from penstock import faults
from penstock.catalog import claims, generations
from penstock.catalog.records import Task
from penstock.catalog.words import TaskKind, TaskState
from penstock.faults import Point
from penstock.processing import failures, follow_ups, metrics
from penstock.processing.attempt import Attempt, Parts
from penstock.processing.failures import Verdict
from penstock.processing.runs import Run, Runs, StopReason
from penstock.processing.scratch import Scratch
from penstock.processing.tasks import audio, beside, inspect, publish, scan, transcode
from penstock.processing.tooling import Tooling
from penstock.video.errors import PenstockError, StaleClaim, ToolError, TransientError

_log = structlog.get_logger()
_tracer = trace.get_tracer("penstock.processing")

KINDS: Mapping[TaskKind, Callable[[Attempt], None]] = {
    TaskKind.INSPECT: inspect.run,
    TaskKind.SCAN: scan.run,
    TaskKind.TRANSCODE: transcode.run,
    TaskKind.AUDIO: audio.run,
    TaskKind.CAPTIONS: beside.captions,
    TaskKind.POSTER: beside.poster,
    TaskKind.PUBLISH: publish.run,
}

_SCAN_PATIENCE_MS = 3_600_000  # the scan's commit ends this wait; a scan that dies ends the video
_AGAIN = 1.0  # seconds between two tries to record an outcome while the database is away


class Worker:
    """Executes runs. A run's place is free again, and everybody told, when its outcome is recorded."""

    def __init__(self, parts: Parts, runs: Runs, scratch: Scratch, tooling: Tooling) -> None:
        self._parts = parts
        self._runs = runs
        self._scratch = scratch
        self._tooling = tooling
        self._policy = failures.retry_policy(parts.config)

    def start(self, run: Run) -> None:
        """Runs it in a thread of its own. The same thread starts and awaits the media processes, which die with it."""
        threading.Thread(target=self.execute, args=(run,), name=f"task-{run.task.id}", daemon=True).start()

    def execute(self, run: Run) -> None:
        """Runs it in this thread; whatever happens, its place is free afterwards."""
        task = run.task
        context = propagate.extract({"traceparent": task.traceparent} if task.traceparent else {})
        names: dict[str, str | int] = {
            "video_id": task.video_id,
            "generation_id": task.generation_id,
            "task_id": task.id,
            "kind": str(task.kind),
            "index": task.index,
            "attempt": task.attempt,
        }
        try:
            with (
                structlog.contextvars.bound_contextvars(**names),
                _tracer.start_as_current_span(f"task {task.kind}", context=context, attributes=names),
            ):
                _log.info(
                    "attempt_started",
                    lane=str(run.lane),
                    waited=round(run.waited, 3),
                    alone=run.alone or None,
                )
                outcome = self._attempt(run)
                seconds = time.monotonic() - run.began
                metrics.task_seconds.labels(task.kind, outcome).observe(seconds)
                _log.info("attempt_ended", outcome=outcome, seconds=round(seconds, 3))
        finally:
            self._runs.remove(run)
            self._parts.announce()

    def _attempt(self, run: Run) -> str:
        """Does the work and records what came of it; the outcome's name."""
        try:
            with (
                self._scratch.attempt(run.task.id, run.task.attempt) as folder,
                closing(Attempt(self._parts, run, folder)) as attempt,
            ):
                KINDS[run.task.kind](attempt)
        except StaleClaim as error:
            metrics.stale.labels(run.task.kind).inc()
            _log.warning("commit_refused", detail=error.detail)
            return "taken_over"
        except Exception as error:  # noqa: BLE001 - whatever it is, the claim must not stay behind
            if run.stopped is None:
                if isinstance(error, ToolError) and self._tooling.is_to_blame():
                    return self._release(run)  # to whoever has tools that work
                return self._fail(run, error)
        else:
            return "done"
        if run.stopped is StopReason.SHUTDOWN:
            return self._release(run)
        return "called_off"

    def _fail(self, run: Run, error: Exception) -> str:
        task = run.task
        verdict = failures.judge(error, attempt=task.attempt)
        metrics.failures.labels(task.kind, verdict.code).inc()
        known = isinstance(error, PenstockError)
        _log.warning(
            "attempt_failed",
            code=verdict.code,
            detail=verdict.message,
            permanent=verdict.permanent,
            counted=verdict.counted,
            said=[note for each in (error, error.__cause__) for note in getattr(each, "__notes__", ())],
            exc_info=None if known else error,
        )
        ended = self._recorded(run, verdict)
        if ended is None:
            return "taken_over"
        if ended.state is TaskState.DEAD:
            metrics.dead.labels(task.kind, verdict.code).inc()
            self._parts.publisher.request(task.generation_id)  # players of a failed video are to be told
            return "dead"
        return "failed"

    def _record_failure(self, tx: Connection, task: Task, verdict: Verdict) -> Task:
        assert task.worker_id is not None
        generations.lock(tx, task.generation_id)
        ended = claims.fail(
            tx,
            task.id,
            task.worker_id,
            task.attempt,
            code=verdict.code,
            message=verdict.message,
            permanent=verdict.permanent,
            counted=verdict.counted,
            # Under the lock: the scan cannot be recorded between this look and the wait that its commit will end.
            delay_ms=_SCAN_PATIENCE_MS
            if verdict.awaits_scan and generations.scan(tx, task.generation_id) is None
            else None,
            policy=self._policy,
        )
        follow_ups.derive(
            tx, task.generation_id
        )  # it may have been the last one, and the video can do without it
        return ended

    def _release(self, run: Run) -> str:
        task = run.task
        assert task.worker_id is not None
        try:
            with self._parts.catalog.write() as tx:
                claims.release(tx, task.id, task.worker_id, task.attempt)
        except (
            StaleClaim,
            TransientError,
        ):  # lost then, which the next start of this slot makes good at once
            return "taken_over"
        return "released"

    def _recorded(self, run: Run, verdict: Verdict) -> Task | None:
        """Records a failure, trying as often as it takes while the database is away; None where the claim is gone.

        Given up once the process ends: the claim then counts as lost, and another takes it over.
        """
        while True:
            try:
                with self._parts.catalog.write() as tx:
                    ended = self._record_failure(tx, run.task, verdict)
                faults.reach(Point.FAILURE_RECORDED)
                return ended  # noqa: TRY300
            except StaleClaim:
                return None
            except TransientError as error:
                _log.warning("outcome_not_recorded", code=error.code, detail=error.detail)
                if run.cancel.wait(_AGAIN):
                    return None
