"""Many files, from a folder or a bucket: some at once, none twice, each with its outcome.

Which files there are and what became of each; how one is sent is ``uploading``'s matter.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatch
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock, Thread

from penstock.client.errors import ClientError
from penstock.client.models import Uploaded
from penstock.client.sources import Bucket, LocalFile, Source

TOGETHER = 3  # files at once: hides what one waits for behind the bytes of the others

# Names that videos have. What is inside, the server finds out: a name proves nothing.
ENDINGS = [
    "3g2",
    "3gp",
    "asf",
    "avi",
    "dv",
    "f4v",
    "flv",
    "m2ts",
    "m2v",
    "m4v",
    "mkv",
    "mov",
    "mp4",
    "mpeg",
    "mpg",
    "mts",
    "mxf",
    "ogm",
    "ogv",
    "ts",
    "vob",
    "webm",
    "wmv",
]


class Outcome(StrEnum):
    """What became of one file."""

    UPLOADED = "uploaded"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Imported:
    """One file and what became of it: a video, or the error that says why there is none."""

    shown: str
    size: int
    outcome: Outcome
    video_id: str | None = None
    error: ClientError | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What there is to import; how many other files were left out by their names; what could not be read."""

    sources: tuple[Source, ...]
    left_out: int
    unreadable: tuple[Imported, ...] = ()


def in_folder(folder: Path, names: Sequence[str] = ()) -> Found:
    """The videos below a folder, by name in order; links to folders are not followed, hidden files are left out.

    ``names`` are patterns (``*.mxf``) that replace the list of known endings. Raises :class:`ClientError`.
    """
    if not folder.is_dir():
        raise ClientError(f"{folder} is not a folder.", code="file_unreadable")
    sources, unreadable, left_out = list[Source](), list[Imported](), 0
    for path in _files(folder):
        if not _wanted(path.relative_to(folder).parts, names):
            left_out += 1
            continue
        try:
            sources.append(LocalFile(path))
        except ClientError as error:
            unreadable.append(Imported(str(path), 0, Outcome.REFUSED, error=error))
    return Found(tuple(sources), left_out, tuple(unreadable))


def in_bucket(bucket: Bucket, names: Sequence[str] = ()) -> Found:
    """The same for a bucket. Raises :class:`ClientError`."""
    every = list(bucket.objects())
    wanted = tuple(one for one in every if _wanted(bucket.below(one.key), names))
    return Found(wanted, len(every) - len(wanted))


def send_all(
    sources: Iterable[Source], send: Callable[[Source], Uploaded], *, together: int = TOGETHER
) -> Generator[Imported, None, None]:
    """Each outcome as it comes; at most ``together`` files are under way.

    Raises :class:`ClientError` at the first trouble that would meet every file: no server, no permission, no room.
    Closing the generator begins no further file.
    """
    waiting, lock, stop = iter(sources), Lock(), Event()
    outcomes: SimpleQueue[Imported | BaseException | None] = SimpleQueue()

    def work() -> None:
        while not stop.is_set():
            with lock:
                source = next(waiting, None)
            if source is None:
                break
            try:
                outcomes.put(_sent(source, send))
            except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits for this one
                outcomes.put(error)
                break
        outcomes.put(None)

    workers = [Thread(target=work, daemon=True, name=f"import-{n}") for n in range(together)]
    for worker in workers:
        worker.start()
    left, failure = len(workers), None
    try:
        while left:
            outcome = outcomes.get()
            if outcome is None:
                left -= 1
            elif isinstance(outcome, BaseException):
                failure = failure or outcome
                stop.set()  # files that are under way may still end well
            else:
                yield outcome
    finally:
        stop.set()
    if failure is not None:
        raise failure


def _sent(source: Source, send: Callable[[Source], Uploaded]) -> Imported:
    try:
        uploaded = send(source)
    except ClientError as error:
        if error.passing or error.status in {401, 403, 507}:
            raise
        return Imported(source.shown, source.size, Outcome.REFUSED, error=error)
    outcome = Outcome.DUPLICATE if uploaded.duplicate else Outcome.UPLOADED
    return Imported(source.shown, source.size, outcome, uploaded.id)


def _files(folder: Path) -> Iterator[Path]:
    """In one order, whatever the file system's is. A folder that cannot be listed is a file that cannot be read."""
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        yield folder
        return
    for entry in entries:
        if entry.is_dir():
            if not entry.is_symlink() and not entry.name.startswith("."):
                yield from _files(entry)
        elif entry.is_file() or entry.is_symlink():  # a link to nothing is a file that cannot be read
            yield entry


def _wanted(parts: tuple[str, ...], names: Sequence[str]) -> bool:
    name = parts[-1]
    if any(part.startswith(".") for part in parts):
        return False
    if names:
        return any(fnmatch(name, pattern) for pattern in names)
    return name.rpartition(".")[2].lower() in ENDINGS and "." in name
