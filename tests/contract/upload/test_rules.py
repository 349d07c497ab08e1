"""Any sequence of what clients, crashes and time do to uploads, against a model that is a list of bytes.

On a folder, and into a bucket of a real S3 server. ``UPLOAD_RULES=many`` asks for more examples than fit into every run.
"""

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from penstock.access.keyring import Keyring
from penstock.catalog import Catalog, CatalogConfig, schema, uploads
from penstock.catalog.records import Upload
from penstock.catalog.words import UploadState
from penstock.storage.bucket_staging import BucketStaging
from penstock.storage.folder_staging import FolderStaging
from penstock.storage.local import LocalStore
from penstock.storage.s3 import S3Store
from penstock.storage.s3_access import Pace
from penstock.upload.outcomes import staged
from penstock.video import identity
from penstock.video.lifecycle import VideoState
from tests.contract.upload.conftest import MIB, SMALL, Instance, content, sha256
from tests.contract.upload.test_tus import RESUMABLE, checksum, metadata, send
from tests.servers.s3 import S3Server

PART = MIB  # of uploads to a folder; it is 5 MiB in a bucket, the least that S3 takes
SIZES = st.sampled_from([1, 100, 5000, PART, PART + 1, 5 * PART, 5 * PART + 1])
MANY = os.environ.get("UPLOAD_RULES") == "many"


class Model:
    """One upload as it should be."""

    def __init__(self, upload_id: str, video_id: str, data: bytes, *, said: bool) -> None:
        self.upload_id = upload_id
        self.video_id = video_id
        self.data = data
        self.said = said  # whether the length is known
        self.offset = 0
        self.parts: set[int] = set()
        self.url = f"/api/uploads/tus/{upload_id}"
        self.over = False  # cancelled or expired
        self.done = False


class Uploads(RuleBasedStateMachine):
    """tus and direct uploads of one account, and what befalls them."""

    resumable = Bundle("resumable")
    in_parts = Bundle("in_parts")
    part = PART

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        root = Path(self.folder.name)
        catalog = Catalog.open(CatalogConfig(url=f"sqlite:///{root / 'records.sqlite'}"))
        catalog.migrate()
        self.instance = self.make(catalog, root)
        self.instance.add("olga")
        self.client = self.instance.start(let_go_s=0.2)
        self.models: list[Model] = []
        self.seed = 0

    def make(self, catalog: Catalog, root: Path) -> Instance:
        """What the service stands on: here a folder."""
        sources = LocalStore(root / "sources")
        return Instance(catalog, sources, FolderStaging(sources), Keyring(root / "keyring.json"), SMALL)

    def assert_staged(self, model: Model, upload: Upload) -> None:
        """What is counted is what was sent."""
        staged_file = self.instance.staging._folder(upload.id) / "data"
        assert staged_file.read_bytes()[: model.offset] == model.data[: model.offset]

    def put(self, url: str, data: bytes) -> int:
        """Sends a part to its address; the status of the answer."""
        answer: httpx.Response = self.client.put(url, content=data)
        return answer.status_code

    def teardown(self) -> None:
        """Closes everything; what is kept is sound."""
        try:
            self.instance.close()
        finally:
            self.instance.catalog.close()
            self.folder.cleanup()

    def _bytes(self, size: int) -> bytes:
        self.seed += 1
        return content(size, self.seed)

    @rule(target=resumable, size=SIZES, said=st.booleans(), first=st.integers(0, 2000))
    def create(self, size: int, first: int, *, said: bool) -> Any:
        """A new tus upload, perhaps with its first bytes, perhaps of a length that is said later."""
        data = self._bytes(size)
        length = {"upload-length": str(size)} if said else {"upload-defer-length": "1"}
        headers = {**RESUMABLE, **length, "upload-metadata": metadata(filename="a.mp4")}
        if first:
            headers["content-type"] = "application/offset+octet-stream"
        answer = self.client.post("/api/uploads/tus/", content=data[:first], headers=headers)
        assert answer.status_code == 201, answer.text
        upload_id = answer.headers["location"].rpartition("/")[2]
        model = Model(upload_id, answer.headers["penstock-video-id"], data, said=said)
        model.offset = min(first, size)
        model.done = said and model.offset == size
        self.models.append(model)
        return model

    @rule(target=in_parts, size=SIZES)
    def initiate(self, size: int) -> Any:
        """A new upload in parts."""
        data = self._bytes(size)
        body = {"filename": "a.mp4", "size": size, "transport": "direct"}
        answer = self.client.post("/api/uploads/initiate", json=body).json()
        model = Model(answer["upload_id"], answer["video_id"], data, said=True)
        self.models.append(model)
        return multiple(model)

    @rule(model=resumable, share=st.floats(0, 1), summed=st.booleans(), say=st.booleans())
    def go_on(self, model: Model, share: float, *, summed: bool, say: bool) -> None:
        """The next bytes, as many as the client likes."""
        rest = model.data[model.offset :]
        piece = rest[: round(share * len(rest))]
        headers = {"upload-checksum": checksum(piece)} if summed else {}
        if say:
            headers["upload-length"] = str(len(model.data))
        answer = send(self.client, model.url, model.offset, piece, **headers)
        if model.over:
            assert answer.status_code == 410
            return
        assert answer.status_code == 204, answer.text
        model.offset += len(piece)
        model.said = model.said or say
        model.done = model.said and model.offset == len(model.data)
        assert answer.headers["upload-offset"] == str(model.offset)

    @rule(model=resumable, where=st.integers(0, PART + 2), size=st.integers(0, 3000))
    def lie_about_the_offset(self, model: Model, where: int, size: int) -> None:
        """Bytes for another place change nothing."""
        if where != model.offset:
            answer = send(self.client, model.url, where, b"x" * size)
            assert answer.status_code in ({410} if model.over else {409})

    @rule(model=resumable, size=st.integers(1, 5000))
    def send_others_than_the_checksum_says(self, model: Model, size: int) -> None:
        """None of them is kept."""
        if not model.over and (not model.said or model.offset + size <= len(model.data)):
            answer = send(
                self.client, model.url, model.offset, b"y" * size, **{"upload-checksum": checksum(b"z")}
            )
            assert answer.status_code == 460

    @rule(model=resumable, size=st.integers(1, 3 * PART))
    def send_too_many(self, model: Model, size: int) -> None:
        """More than are missing are refused before one is read."""
        if model.said and not model.over:
            answer = send(self.client, model.url, model.offset, bytes(len(model.data) - model.offset + size))
            assert answer.status_code == 422

    @rule(model=resumable, size=st.integers(1, 5000), died=st.booleans())
    def crash(self, model: Model, size: int, *, died: bool) -> None:
        """A writer that wrote and died, or was told to go, before it could count what it wrote."""
        if model.done or model.over:
            return
        upload = self.instance.upload(model.upload_id)
        token = identity.new_id()
        known = staged(upload, self.instance.config)
        with self.instance.staging.writing(known, offset=upload.received, alone=True) as writer:
            with self.instance.catalog.write() as tx:
                uploads.take(tx, model.upload_id, token, life_ms=1_000_000)
            writer.write(b"w" * size)
        if not died:
            with self.instance.catalog.write() as tx:
                uploads.let_go(tx, model.upload_id, token)

    @rule(model=resumable, other=st.booleans())
    def end(self, model: Model, *, other: bool) -> None:
        """Cancelled by its client, or silent for too long."""
        if model.done:
            assert self.client.delete(model.url, headers=RESUMABLE).status_code == 409
        elif other or model.over:
            answer = self.client.delete(model.url, headers=RESUMABLE)
            assert answer.status_code == (410 if model.over else 204)
            model.over = True
        else:
            with self.instance.catalog.write() as tx:
                mine = schema.uploads.c.id == model.upload_id
                tx.execute(schema.uploads.update().where(mine).values(expires_at=1))
            model.over = True

    @rule(model=in_parts, number=st.integers(1, 3), honest=st.booleans())
    def put_part(self, model: Model, number: int, *, honest: bool) -> None:
        """A part, again and again, with the right bytes or others."""
        stands = self.client.post("/api/uploads/parts", json={"upload_id": model.upload_id})
        if model.done:
            assert stands.status_code == 409
            return
        size = min(self.part, len(model.data) - (number - 1) * self.part)
        if size <= 0:
            return
        url = next((part["url"] for part in stands.json()["missing"] if part["number"] == number), None)
        if url is None:
            return
        piece = model.data[(number - 1) * self.part :][:size]
        status = self.put(url, piece if honest else piece + b"!")
        assert (status == 200) is honest, status
        if honest:
            model.parts.add(number)

    @rule(model=in_parts)
    def complete(self, model: Model) -> None:
        """Too early it is refused; afterwards it always gives the same video."""
        answer = self.client.post("/api/uploads/complete", json={"upload_id": model.upload_id})
        if len(model.parts) == -(-len(model.data) // self.part):
            assert answer.status_code == 200, answer.text
            assert answer.json()["id"] == model.video_id
            model.done = True
        else:
            assert answer.json()["code"] == "parts_missing"

    @rule()
    def restart(self) -> None:
        """Another process goes on with what is recorded."""
        self.client = self.instance.start(let_go_s=0.2)

    @invariant()
    def every_byte_is_as_it_was_sent(self) -> None:
        """Offsets are true, what is below them is what was sent, and what is complete is a video with these bytes."""
        for model in self.models:
            upload, video = self.instance.upload(model.upload_id), self.instance.video(model.video_id)
            if model.done:
                assert upload.state is UploadState.COMPLETED
                # What no single request saw, a bucket's scan reads.
                unread = {None} if self.instance.bucket else set()
                assert video.state is VideoState.UPLOADED
                assert video.source_sha256 in {sha256(model.data), *unread}
                assert video.source_key is not None
                assert self.instance.sources.get(video.source_key) == model.data
                continue
            assert video.state in {VideoState.PENDING, VideoState.DELETED}
            assert upload.received == model.offset
            if not model.over and model.offset:
                self.assert_staged(model, upload)

    @precondition(lambda self: self.models)
    @invariant()
    def what_is_told_is_true(self) -> None:
        """HEAD says what the record says."""
        model = self.models[-1]
        if self.instance.upload(model.upload_id).transport == "tus" and not model.over:
            answer = self.client.head(model.url, headers=RESUMABLE)
            assert answer.headers["upload-offset"] == str(model.offset)


class UploadsIntoABucket(Uploads):
    """The same, where sources lie in a bucket, which shows no byte before it has all of them."""

    server: S3Server
    part = 5 * PART

    def make(self, catalog: Catalog, root: Path) -> Instance:
        """A new prefix of the bucket."""
        bucket = S3Store(self.server.new(), Pace.WORK)
        staging = BucketStaging(bucket)
        config = replace(SMALL, part_size=self.part)
        return Instance(catalog, bucket, staging, Keyring(root / "keyring.json"), config, bucket=staging)

    def assert_staged(self, model: Model, upload: Upload) -> None:
        """Only the end shows."""

    def put(self, url: str, data: bytes) -> int:
        """To the bucket itself."""
        return httpx.put(url, content=data, timeout=60).status_code

    def teardown(self) -> None:
        """Whatever was counted is in the object, once the rest was sent."""
        try:
            for model in self.models:
                if not model.over and not model.done and self.is_resumable(model):
                    self.go_on_to_the_end(model)
            self.every_byte_is_as_it_was_sent()
        finally:
            super().teardown()

    def is_resumable(self, model: Model) -> bool:
        """Whether it came by tus."""
        return self.instance.upload(model.upload_id).transport == "tus"

    def go_on_to_the_end(self, model: Model) -> None:
        """The rest at once."""
        length = {"upload-length": str(len(model.data))}
        answer = send(self.client, model.url, model.offset, model.data[model.offset :], **length)
        assert answer.status_code == 204, answer.text
        model.done = True


def chosen(examples: int, steps: int) -> settings:
    """So many examples with so many steps, the same ones each time; fresh ones where many are asked for."""
    return settings(
        max_examples=25 * examples if MANY else examples,
        stateful_step_count=steps,
        deadline=None,
        derandomize=not MANY,
        suppress_health_check=list(HealthCheck),
    )


TestUploads = Uploads.TestCase
TestUploads.settings = chosen(12, 25)


def test_uploads_into_a_bucket(ministack: S3Server) -> None:
    """The rules that hold on a folder hold in a bucket."""
    UploadsIntoABucket.server = ministack
    run_state_machine_as_test(UploadsIntoABucket, settings=chosen(4, 20))
