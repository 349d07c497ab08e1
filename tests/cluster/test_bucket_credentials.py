"""Sources and outputs with credentials of their own: what opens one store opens nothing of the other.

Each store is a server of its own that knows one pair, of the kind that verifies every signature.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from penstock.access.keyring import Keyring
from penstock.storage.exercise import reach
from penstock.storage.s3 import S3Store
from penstock.storage.s3_access import Pace, StorageDenied, StoreConfig
from scripts import playback
from tests.cluster.running import Platform, Services
from tests.cluster.walking import QUICK, make_clip
from tests.servers import s3
from tests.servers.s3 import S3Server

SECRETS = {"originals": "what-opens-the-originals", "played": "what-opens-what-is-played"}


@pytest.fixture(scope="module")
def originals() -> Iterator[S3Server]:
    """Where sources lie."""
    with s3.running("rclone", "keyoforiginals", SECRETS["originals"]) as server:
        yield server


@pytest.fixture(scope="module")
def played() -> Iterator[S3Server]:
    """Where outputs lie."""
    with s3.running("rclone", "keyofplayed", SECRETS["played"]) as server:
        yield server


@pytest.fixture(scope="module")
def sources(originals: S3Server) -> StoreConfig:
    """The store of originals, and what opens it."""
    return originals.config(f"s3://{originals.bucket()}/videos")


@pytest.fixture(scope="module")
def outputs(played: S3Server) -> StoreConfig:
    """The store of what is played, and what opens it."""
    return played.config(f"s3://{played.bucket()}/videos")


def settings(room: str, store: StoreConfig, pair: StoreConfig) -> dict[str, str]:
    """What an operator sets for a store, with the pair of this or of the other."""
    assert store.endpoint is not None
    return {
        f"{room}_URL": store.url,
        f"{room}_ENDPOINT": store.endpoint,
        f"{room}_ACCESS_KEY_ID": pair.access_key_id or "",
        f"{room}_SECRET_ACCESS_KEY": pair.secret_access_key or "",
    }


def doctor(folder: Path, environment: Mapping[str, str], *arguments: str) -> tuple[int, dict[str, str]]:
    """The exit status, and what is said of each store or step that is at fault."""
    done = subprocess.run(
        [sys.executable, "-m", "penstock.cli", "doctor", "--json", *arguments],
        env={
            **os.environ,
            "PENSTOCK_DATA": str(folder),
            "PENSTOCK_PORT": "0",
            **{f"PENSTOCK_{name}": value for name, value in environment.items()},
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert not [secret for secret in SECRETS.values() if secret in done.stdout + done.stderr]
    found = [each for each in json.loads(done.stdout) if "stor" in each["subject"]]
    assert found
    faults = {
        each["subject"]: f"{each['detail']} {each['remedy']}" for each in found if each["verdict"] == "fault"
    }
    return done.returncode, faults


def test_a_clip_goes_from_one_store_to_the_other_and_streaming_has_the_key_of_one(
    sources: StoreConfig, outputs: StoreConfig, tmp_path: Path
) -> None:
    """Uploaded, processed and played with two pairs; then streaming plays with that of the outputs, which opens no original."""
    pairs = {**settings("SOURCES", sources, sources), **settings("OUTPUTS", outputs, outputs)}
    data, clip = tmp_path / "data", tmp_path / "clip.mp4"
    make_clip(clip)
    with closing(Platform(data, {**QUICK, **pairs})) as platform:
        platform.start()
        with platform.client() as client:
            uploaded = client.upload(clip, visibility="public")
            assert client.wait(uploaded.id).state == "ready"
            shown = client.video(uploaded.id).playback
        assert shown is not None
        frames = playback.hls_frames(shown.hls)
        assert list(frames.values()) == [30]
        for secret in SECRETS.values():
            assert secret not in platform.log_file.read_text()
    originals = S3Store(sources, Pace.WORK)
    assert [originals.get(info.key) for info in originals.list("")] == [clip.read_bytes()]
    made = {info.key for info in S3Store(outputs, Pace.WORK).list(f"{uploaded.id}/")}
    assert not made & {info.key for info in originals.list("")}
    assert not [name for name in ("sources", "outputs") if (data / name).exists()]

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with closing(Services(elsewhere)) as services:
        address = services.start(
            "streaming", KEYRING=str(data / "keyring.json"), **settings("OUTPUTS", outputs, outputs)
        )
        assert httpx.get(f"{address}/status", timeout=60).status_code == 200
        assert playback.hls_frames(shown.hls.replace(platform.url, address)) == frames


def test_what_opens_one_store_does_not_open_the_other(
    sources: StoreConfig, outputs: StoreConfig, originals: S3Server, played: S3Server
) -> None:
    """Neither pair reads or lists what is the other's."""
    for config in (originals.config(outputs.url), played.config(sources.url)):
        other = played if config.endpoint == originals.endpoint else originals
        store = S3Store(
            StoreConfig(config.url, config.endpoint, config.region, other.key, other.secret), Pace.PLAYBACK
        )
        for call in (lambda store=store: reach(store), lambda store=store: store.get("video/source")):
            with pytest.raises(StorageDenied):
                call()


def test_the_doctor_names_the_store_whose_pair_is_wrong(
    sources: StoreConfig, outputs: StoreConfig, tmp_path: Path
) -> None:
    """Swapped pairs are two faults, each with the setting to correct; a store that is named is opened with what is its own."""
    swapped = {**settings("SOURCES", sources, outputs), **settings("OUTPUTS", outputs, sources)}
    status, faults = doctor(tmp_path, swapped)
    assert (status, set(faults)) == (1, {"store of sources", "store of outputs"})
    for room in ("SOURCES", "OUTPUTS"):
        assert "storage_denied" in faults[f"store of {room.lower()}"]
        assert f"PENSTOCK_{room}_ACCESS_KEY_ID" in faults[f"store of {room.lower()}"]
    right = {**settings("SOURCES", sources, sources), **settings("OUTPUTS", outputs, outputs)}
    tried = ("--storage", f"{outputs.url}/tried")
    assert doctor(tmp_path, right, *tried) == (0, {})
    status, faults = doctor(tmp_path, swapped, *tried)
    assert (status, list(faults)) == (1, ["storage: write"])
    assert "PENSTOCK_OUTPUTS_ACCESS_KEY_ID" in faults["storage: write"]


def test_a_service_with_the_wrong_pair_says_so_where_it_is_watched(
    sources: StoreConfig, outputs: StoreConfig, tmp_path: Path
) -> None:
    """It serves, as a store may be mended under it, and is not ready: whoever routes to it sends nobody there."""
    keys = tmp_path / "keyring.json"
    Keyring(keys).signing_key()
    with closing(Services(tmp_path)) as services:
        wrong = settings("OUTPUTS", outputs, sources)
        address = services.start("streaming", KEYRING=str(keys), **wrong)
        answer = httpx.get(f"{address}/status", timeout=60)
    assert answer.status_code == 503
    (down,) = [each for each in answer.json()["dependencies"] if each["status"] == "down"]
    assert (down["name"], down["code"]) == ("outputs", "storage_denied")
