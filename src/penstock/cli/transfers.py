"""What a person sees while bytes are sent: bars with speed and time left where there is a screen, plain lines where not."""

import sys
import time
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Self

from penstock.cli.terminal import duration, err, size, visible

if TYPE_CHECKING:
    from penstock.client import ClientError
    from penstock.client.sending import Progress

_LABELS = {"hash": "checksum", "send": "upload"}
_QUIET_S = 30.0  # between two lines about the same trouble


class Bars:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        shown = sys.stderr.isatty()
        self._sending = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=err,
            disable=not shown,
            redirect_stdout=sys.stdout.isatty(),  # results that are piped on stay on standard output
        )
        self._processing = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            TextColumn("{task.percentage:>4.0f}%"),
            TextColumn("{task.fields[note]}", markup=False),
            console=err,
            disable=not shown,
            redirect_stdout=sys.stdout.isatty(),  # results that are piped on stay on standard output
        )
        self._lock = Lock()
        self._told: tuple[str, float] | None = None
        self._under_way: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> Self:
        self._sending.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the screen as it is."""
        self._sending.stop()
        self._processing.stop()

    def of_file(self, name: str, total: int) -> "Progress":
        """A bar for each stage of one file."""
        tasks = {}

        def progress(stage: str, done: int) -> None:
            if stage not in tasks:  # what was there before is no speed of this run
                label = _LABELS[stage]
                tasks[stage] = self._sending.add_task(label, total=total, completed=done, note=visible(name))
            self._sending.update(tasks[stage], completed=done)
            if stage == "send":
                self._under_way[name] = (done, total)

        return progress

    def of_many(self, files: int, total: int) -> Callable[[int, int], None]:
        """One bar for all bytes of many files; it is told what was added to files and to bytes."""
        task = self._sending.add_task("import", total=total, note=f"0 of {files}")
        finished = 0

        def progress(more_files: int, more_bytes: int) -> None:
            nonlocal finished
            with self._lock:
                finished += more_files
                self._sending.update(task, advance=more_bytes, note=f"{finished} of {files}")

        return progress

    def of_processing(self, name: str) -> Callable[[float, str], None]:
        """A bar of what becomes of a video."""
        self._sending.stop()
        self._processing.start()
        name = visible(name)
        task = self._processing.add_task("processing", total=1.0, note=name)
        return lambda done, note: self._processing.update(task, completed=done, note=f"{name}: {note}")

    def stands(self) -> str:
        """How far the file that is under way has come; empty where none was begun."""
        unfinished = [
            f"{size(done)} of {size(total)} of {name} are sent"
            for name, (done, total) in self._under_way.items()
            if done < total
        ]
        return ", ".join(unfinished)

    def waiting(self, seconds: float, reason: "ClientError") -> None:
        """Says that a pause is made and why: once, and again when it lasts."""
        now = time.monotonic()
        with self._lock:
            if self._told is not None and self._told[0] == reason.code and now - self._told[1] < _QUIET_S:
                return
            self._told = (reason.code, now)
        said = "The server does not answer" if reason.code == "unreachable" else reason.detail.rstrip(".")
        err.print(
            f"waiting: {said}; trying again in {duration(seconds)} (Ctrl-C ends; nothing that arrived is lost)",
            markup=False,
        )
