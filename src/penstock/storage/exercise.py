"""Tries a store out with an object of its own: what an operator's check and a service's start run before trusting it."""

import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from penstock.storage.open import open_staging
from penstock.storage.staging import Staged
from penstock.storage.store import CHUNK, ObjectMissing, ObjectStore
from penstock.video.errors import PenstockError, StorageUnavailable


@dataclass(frozen=True, slots=True)
class Step:
    """One thing tried: how long it took in seconds, and the error that ended the exercise, if any."""

    name: str
    seconds: float
    error: PenstockError | None = None


def reach(store: ObjectStore) -> None:
    """Lists what is not there: cheap, writes nothing. Raises what the store raises, for a bucket that is missing too."""
    next(store.list("reach/"), None)


def exercise(store: ObjectStore) -> Iterator[Step]:
    """Writes, reads, lists and deletes an object, and uploads one in parts; stops after the first failed step, and cleans up."""
    name = secrets.token_hex(8)
    key = f"exercise/{name}"
    data = secrets.token_bytes(CHUNK + 1)
    steps: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("write", lambda: store.put(key, data) == len(data)),
        ("facts", lambda: store.head(key).size == len(data)),
        ("read", lambda: store.get(key) == data),
        ("range", lambda: store.get(key, start=CHUNK - 1) == data[CHUNK - 1 :]),
        ("list", lambda: [info.key for info in store.list("exercise/") if info.key == key] == [key]),
        ("delete", lambda: _gone(store, key)),
        ("parts", lambda: _in_parts(store, Staged(name, key))),
    )
    for name, attempt in steps:
        step = _tried(name, attempt)
        yield step
        if step.error is not None:
            _discard(store, key)
            return


def _tried(name: str, attempt: Callable[[], bool]) -> Step:
    began = time.monotonic()
    try:
        error = (
            None
            if attempt()
            else StorageUnavailable("The storage answered otherwise than it was written to.")
        )
    except PenstockError as raised:
        return Step(name, time.monotonic() - began, raised)
    return Step(name, time.monotonic() - began, error)


def _in_parts(store: ObjectStore, staged: Staged) -> bool:
    """An upload as one arrives: in a bucket one whole part and a tail."""
    staging, size = open_staging(store), 5 * CHUNK + 1
    staging.create(staged.name)
    try:
        with staging.writing(staged, offset=0, whole=True) as writer:
            writer.write(bytes(size))
            staged = replace(staged, mark=writer.sync().mark)
        with staging.sealed(staged) as sealed:
            sealed.adopt()
    finally:
        staging.remove(staged)
    return store.head(staged.key or "").size == size and _gone(store, staged.key or "")


def _gone(store: ObjectStore, key: str) -> bool:
    store.delete([key])
    try:
        store.head(key)
    except ObjectMissing:
        return True
    return False


def _discard(store: ObjectStore, key: str) -> None:
    try:
        store.delete([key])
    except PenstockError:
        return  # the step that failed is already reported
