"""Parts sent straight into a bucket by boto3, over a line that breaks: to signed addresses, and with the bucket's own key."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.awsrequest import AWSRequest
from botocore.httpsession import URLLib3Session

from penstock.catalog import uploads
from penstock.storage.s3 import S3Store
from penstock.storage.s3_access import StoreConfig, multipart_client
from tests.clients.documented import lay_out
from tests.clients.proxy import Proxy
from tests.clients.test_buckets import PART, line, on_bucket
from tests.contract.upload.conftest import Instance, content, refused
from tests.contract.upload.server import Server
from tests.servers.s3 import S3Server
from tests.servers.stores import ministack, rclone, s3_server

__all__ = ["line", "ministack", "on_bucket", "rclone", "s3_server"]

DATA = content(4 * PART + 1000)


@dataclass
class Somebody:
    """Who has a film, and the documented program that sends it."""

    server: Server
    instance: Instance
    folder: Path
    program: Path

    def run(self) -> "subprocess.Popen[str]":
        """Starts the program."""
        address = str(self.server.client.base_url).rstrip("/")
        return subprocess.Popen(
            [sys.executable, str(self.program)],
            cwd=self.folder,
            env={**os.environ, "PENSTOCK": address, "KEY": self.instance.keys["olga"]},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run_to_its_end(self) -> tuple[int, str]:
        """Its exit status, and what it printed."""
        program = self.run()
        output, _ = program.communicate(timeout=240)
        return program.returncode, output

    def assert_stored(self, output: str, sent: int) -> None:
        """One video stands for the film, the object has its digest, and so much is all that went into the bucket."""
        video_id = output.rsplit(maxsplit=1)[-1]
        (video,) = [video for video in self.instance.videos() if video.state == "uploaded"]
        assert (video.id, video.source_size) == (video_id, len(DATA))
        digest = hashlib.sha256(self.instance.sources.get(str(video.source_key))).hexdigest()
        assert digest == hashlib.sha256(DATA).hexdigest() == declared(self.instance, video_id)
        assert list(self.instance.staging.leftovers()) == []
        assert sent < len(DATA) + 2 * PART


def declared(instance: Instance, video_id: str) -> str | None:
    """The digest that processing compares with before the video is ready."""
    with instance.catalog.read() as tx:
        (upload,) = uploads.for_video(tx, video_id)
    return upload.sha256


@pytest.fixture
def somebody(on_bucket: tuple[Server, Instance], tmp_path: Path) -> Somebody:
    """In a folder of theirs."""
    folder = tmp_path / "somebody"
    folder.mkdir()
    (folder / "holiday.mp4").write_bytes(DATA)
    return Somebody(*on_bucket, folder, lay_out("parts.py", folder))


def test_parts_go_on_after_a_broken_line(somebody: Somebody, line: Proxy) -> None:
    """The connection to the bucket is reset in the middle of a part: what is there is asked for, and the rest is sent."""
    line.cut_after(2 * PART + PART // 2)
    status, output = somebody.run_to_its_end()
    assert status == 0, output
    assert "trying again" in output
    assert line.cuts == 1
    somebody.assert_stored(output, line.received)


def test_parts_go_on_in_another_process(somebody: Somebody, line: Proxy) -> None:
    """The program is killed in the middle of a part; another one asks which parts are there, and sends the others."""
    began = threading.Event()
    running: list[subprocess.Popen[str]] = []

    def kill() -> None:
        began.wait(60)
        running[0].kill()

    line.cut_after(2 * PART + PART // 2, then=kill)
    running.append(somebody.run())
    began.set()
    running[0].communicate(timeout=120)
    assert running[0].returncode == -9
    assert list(somebody.instance.objects()) == []
    upload_id = json.loads((somebody.folder / "holiday.upload.json").read_text())["upload_id"]
    stands = somebody.server.client.post("/api/uploads/parts", json={"upload_id": upload_id}).json()
    assert [(part["number"], part["size"]) for part in stands["received"]] == [(1, PART), (2, PART)]
    status, output = somebody.run_to_its_end()
    assert status == 0, output
    somebody.assert_stored(output, line.received)


def test_a_part_that_was_sent_twice_with_other_bytes(somebody: Somebody, s3_server: S3Server) -> None:
    """What the bucket has last counts; where it is not what the client lists, nothing becomes a video, and it may begin anew."""
    answer = somebody.server.client.post(
        "/api/uploads/initiate",
        json={"filename": "holiday.mp4", "size": len(DATA), "transport": "direct"},
    )
    session = answer.json()
    put = [
        URLLib3Session().send(AWSRequest("PUT", session["parts"][0]["url"], data=data).prepare())
        for data in (DATA[:PART][::-1], DATA[:PART])
    ]
    assert put[0].status_code == 200
    etag = f'"{hashlib.md5(DATA[:PART], usedforsecurity=False).hexdigest()}"'
    note = somebody.folder / "holiday.upload.json"
    note.write_text(json.dumps({"upload_id": session["upload_id"], "etags": {"1": etag}}))
    status, output = somebody.run_to_its_end()
    if put[1].status_code != 200:
        assert s3_server.kind == "rclone"  # which keeps what it has
        assert (status, json.loads(output)["code"]) == (1, "parts_differ")
        somebody.instance.assert_nothing_uploaded()
        cancelled = somebody.server.client.delete(f"/api/uploads/{session['upload_id']}")
        assert cancelled.status_code == 204
        note.unlink()
        status, output = somebody.run_to_its_end()
    assert status == 0, output
    somebody.assert_stored(output, 0)


def test_the_bucket_s_own_key_sends_parts_over_a_line_that_breaks(
    on_bucket: tuple[Server, Instance], line: Proxy
) -> None:
    """Who has a key of the bucket uses boto3 alone: it sends the broken part again, and another client lists what is there."""
    server, instance = on_bucket
    body: dict[str, Any] = {"filename": "holiday.mp4", "size": len(DATA), "transport": "direct"}
    session = server.client.post("/api/uploads/initiate", json=body).json()
    first = urlsplit(session["parts"][0]["url"])
    _, bucket, key = first.path.split("/", 2)
    place = {"Bucket": bucket, "Key": key, "UploadId": parse_qs(first.query)["uploadId"][0]}
    assert isinstance(instance.sources, S3Store)
    config: StoreConfig = replace(instance.sources.config, endpoint=line.url)

    def send(numbers: list[int]) -> None:
        theirs = multipart_client(config)
        for number in numbers:
            piece = DATA[(number - 1) * PART :][:PART]
            theirs.upload_part(**place, PartNumber=number, Body=piece)

    line.cut_after(PART + PART // 2)
    send([1, 2])
    assert line.cuts == 1
    listed = multipart_client(config).list_parts(**place)["Parts"]
    assert [part["PartNumber"] for part in listed] == [1, 2]
    complete = {"upload_id": session["upload_id"]}
    refused(server.client.post("/api/uploads/complete", json=complete), 409, "parts_missing")
    send([5, 4, 3])
    complete |= {"parts": [{"number": part["PartNumber"], "etag": part["ETag"]} for part in listed]}
    assert server.client.post("/api/uploads/complete", json=complete).status_code == 200
    assert list(instance.objects().values()) == [DATA]
