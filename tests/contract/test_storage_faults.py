"""What stores in buckets do when the other side is away, silent, slow, or says no: a stable error, and nothing lost."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from structlog.testing import capture_logs

from penstock.storage.bucket_staging import BucketStaging
from penstock.storage.exercise import exercise, reach
from penstock.storage.s3 import S3Store
from penstock.storage.s3_access import BucketMissing, ClockSkewed, Pace, StorageDenied, StoreConfig
from penstock.storage.staging import Staged, StagedDiffers
from penstock.video.errors import Cancelled, StorageUnavailable
from tests.servers import proxy
from tests.servers.proxy import Proxy
from tests.servers.s3 import SECRET, S3Server

MIB = 1024 * 1024
PART = 5 * MIB
DATA = Random(7).randbytes(2 * PART + 100)
STAGED = Staged("u", "01kq3v5d2m8r1x9c7b4n6t0hsz/source.u")


@pytest.fixture
def config(s3_server: S3Server) -> StoreConfig:
    """An empty store."""
    return s3_server.new()


@pytest.fixture
def between(config: StoreConfig) -> Iterator[Proxy]:
    """A proxy before the server."""
    assert config.endpoint is not None
    with proxy.running(config.endpoint) as running:
        yield running


@pytest.fixture
def far(config: StoreConfig, between: Proxy) -> S3Store:
    """The store by way of the proxy, for playback: it gives up soon."""
    return S3Store(replace(config, endpoint=between.endpoint), Pace.PLAYBACK)


def calls_of(store: S3Store) -> list[Callable[[], object]]:
    """One call of each kind."""
    return [
        lambda: store.put("v/b", b"x"),
        lambda: store.get("v/a"),
        lambda: store.head("v/a"),
        lambda: list(store.list("v/")),
        lambda: store.delete(["v/none"]),
        lambda: reach(store),
    ]


def test_a_store_that_is_away_is_said_and_comes_back(far: S3Store, between: Proxy) -> None:
    """Every call says that the store is unavailable, and the same calls work when it is there again."""
    far.put("v/a", b"kept")
    between.down = True
    for call in calls_of(far):
        with pytest.raises(StorageUnavailable) as caught:
            call()
        assert caught.value.code == "storage_unavailable"
    between.down = False
    for call in calls_of(far):
        call()
    assert far.get("v/a") == b"kept"


def test_playback_does_not_wait_for_a_silent_store(far: S3Store, between: Proxy) -> None:
    """Where nothing answers at all, a player is told so rather than left to wait for ever."""
    far.put("v/a", b"kept")
    between.silent = True
    with pytest.raises(StorageUnavailable):
        far.get("v/a")
    between.silent = False
    assert far.get("v/a") == b"kept"


def test_slow_answers_are_waited_for(far: S3Store, between: Proxy) -> None:
    """A store that answers late is slow and not broken."""
    between.pause_s = 0.3
    far.put("v/a", b"late")
    assert far.get("v/a") == b"late"
    assert [info.key for info in far.list("v/")] == ["v/a"]


def test_an_outage_within_an_upload_loses_only_what_was_not_kept(
    config: StoreConfig, between: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request that meets the outage fails; the next one goes on from the mark, and the object is whole."""
    monkeypatch.setattr(Pace.WORK, "_value_", replace(Pace.WORK.value, retries=1, retry_for=2))
    staging = BucketStaging(S3Store(replace(config, endpoint=between.endpoint), Pace.WORK))
    with staging.writing(STAGED, offset=0) as writer:
        writer.write(DATA[: PART + 10])
        kept = writer.sync()
        between.down = True
        writer.write(DATA[PART + 10 :])
        with pytest.raises(StorageUnavailable):
            writer.sync()
        between.down = False
        with pytest.raises(Cancelled):  # the part in between is lost: nothing may follow it
            writer.sync()
    staged = replace(STAGED, mark=kept.mark)
    with staging.writing(staged, offset=kept.size) as writer:
        writer.write(DATA[kept.size :])
        staged = replace(staged, mark=writer.sync().mark)
    with staging.sealed(staged) as sealed:
        sealed.adopt()
    assert S3Store(config, Pace.WORK).get(STAGED.key or "") == DATA


def test_a_lost_answer_to_the_completion_is_settled(config: StoreConfig, between: Proxy) -> None:
    """The store made the object and its answer was lost: asking the store says that the upload is complete."""
    staging = BucketStaging(S3Store(replace(config, endpoint=between.endpoint), Pace.WORK))
    with staging.writing(STAGED, offset=0, whole=True) as writer:
        writer.write(DATA)
        staged = replace(STAGED, mark=writer.sync().mark)
    between.lose = b"<CompleteMultipartUpload"
    with staging.sealed(staged) as sealed:
        sealed.adopt()
    assert between.lost.is_set()
    assert S3Store(config, Pace.WORK).get(STAGED.key or "") == DATA


def test_a_part_written_over_is_noticed(config: StoreConfig, s3_server: S3Server) -> None:
    """Another client wrote other bytes into a recorded part: nothing becomes an object, or the store itself refuses it."""
    staging = BucketStaging(S3Store(config, Pace.WORK))
    with staging.writing(STAGED, offset=0) as writer:
        writer.write(DATA[: PART + 1])
        first = writer.sync()
    stale = BucketStaging(S3Store(config, Pace.WORK))
    upload_id = json.loads(first.mark)["id"]
    try:
        stale.send(STAGED.key or "", upload_id, 1, bytes(PART))
    except StorageUnavailable:
        assert s3_server.kind == "rclone"  # which keeps what it has
        return
    with pytest.raises(StagedDiffers), staging.sealed(replace(STAGED, mark=first.mark)) as sealed:
        sealed.adopt()
    assert list(S3Store(config, Pace.WORK).list("01")) == []


def test_a_missing_bucket_is_said(s3_server: S3Server) -> None:
    """Nothing pretends that objects are merely not there."""
    config = s3_server.config("s3://there-is-no-such-bucket/x")
    store = S3Store(config, Pace.PLAYBACK)
    for call in (lambda: store.put("v/a", b"x"), lambda: list(store.list("v/")), lambda: reach(store)):
        with pytest.raises(BucketMissing) as caught:
            call()
        assert caught.value.code == "bucket_missing"
    with pytest.raises(BucketMissing):
        BucketStaging(store).begin("v/a")
    assert [step.error.code for step in exercise(store) if step.error] == ["bucket_missing"]


def test_wrong_credentials_are_said_and_never_told(rclone: S3Server) -> None:
    """A refused key is an operator's matter of its own, and neither log nor error holds key, secret, host or object."""
    config = replace(rclone.new(), secret_access_key="another-secret-entirely")
    store = S3Store(config, Pace.PLAYBACK)
    texts = []
    with capture_logs() as logged:
        for call in (lambda: store.put("v/a", b"x"), lambda: store.get("v/a"), lambda: reach(store)):
            with pytest.raises(StorageDenied) as caught:
                call()
            texts.append(f"{caught.value!r} {caught.value.__cause__!r}")
        with pytest.raises(StorageDenied):
            BucketStaging(store).begin("v/a")
    everything = " ".join([*texts, str(logged), repr(config)])
    for secret in ("another-secret-entirely", SECRET, "v/a"):
        assert secret not in everything
    assert {line["answer"] for line in logged} <= {"SignatureDoesNotMatch", "AccessDenied", "403"}


def test_a_clock_that_the_store_refuses_is_said(rclone: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as wrong credentials, which an operator would look for in vain."""
    staging = BucketStaging(S3Store(rclone.new(), Pace.WORK))
    monkeypatch.setattr(
        "botocore.auth.get_current_datetime",
        lambda *, remove_tzinfo=True: (datetime.now(UTC) + timedelta(hours=2)).replace(
            tzinfo=None if remove_tzinfo else UTC
        ),
    )
    with pytest.raises(ClockSkewed) as caught:
        staging.begin("v/a")
    assert caught.value.code == "storage_clock_skewed"
