from datetime import datetime
from itertools import product
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from penstock.access import playback, signed_urls
from penstock.video import identity
from penstock.video.visibility import Visibility
from tests.contract.library.conftest import CALLED, NOW, Instance

CALLERS = ["olga", "stan", "adam", "rita", None]


def get(instance: Instance, path: str, caller: str | None = "olga", **query: Any) -> Any:
    """The answer, which must be a success."""
    response = instance.client.get(path, headers=instance.headers(caller), params=query)
    assert response.status_code == 200, response.text
    return response.json()


def code(response: Any) -> tuple[int, str]:
    """Status and code of a problem."""
    return response.status_code, response.json()["code"]


def test_a_ready_video_is_told_in_full(instance: Instance) -> None:
    """Owner, file name, state, times and every rendition with size, codec, measured bit rate and address."""
    video_id = instance.video(title="Holiday", filename="IMG_1.mov")
    video = get(instance, f"/api/videos/{video_id}")
    assert (video["id"], video["title"], video["filename"]) == (video_id, "Holiday", "IMG_1.mov")
    assert video["owner"] == {"id": instance.accounts["olga"], "name": "Olga"}
    assert (video["state"], video["playable"], video["progress"]) == ("ready", True, 1.0)
    assert (video["duration"], video["width"], video["height"]) == (8.0, 854, 480)
    assert video["created_at"].endswith("Z")
    assert video["ready_at"] >= video["playable_at"] >= video["uploaded_at"] >= video["created_at"]
    assert video["timings"].keys() == {"upload", "inspect", "playable", "ready"}
    rungs = {item["name"]: item for item in video["renditions"]}
    assert list(rungs) == ["240p", "480p", "audio-0"]
    assert (rungs["480p"]["size"], rungs["480p"]["bitrate"]) == (600_000, 600_000)
    assert (rungs["480p"]["codecs"], rungs["480p"]["height"]) == ("avc1.64001f", 358)
    assert rungs["480p"]["complete"]
    assert rungs["480p"]["url"].startswith(f"{CALLED}/stream/")
    assert rungs["480p"]["url"].endswith("/480p/index.m3u8")
    assert video["poster"].endswith("/poster.jpg")
    assert video["watch_url"] == f"{CALLED}/watch/{video_id}"


def test_a_poster_is_told_once_the_timeline_is_frozen(instance: Instance) -> None:
    """Before, players' timeline may not name it yet, and its address would answer 404."""
    growing, ready = instance.video(until="playable"), instance.video()
    assert get(instance, f"/api/videos/{growing}")["poster"] is None
    assert get(instance, f"/api/videos/{ready}")["poster"] is not None


@pytest.mark.parametrize("until", ["pending", "uploaded", "processing", "playable", "failed"])
def test_a_video_on_its_way_says_how_far_it_is(instance: Instance, until: str) -> None:
    """Playback appears with the first segments, failure with its reason, and planned renditions have the cap's rate."""
    video = get(instance, f"/api/videos/{instance.video(until=until)}")
    assert video["state"] == ("processing" if until == "playable" else until)
    assert video["playable"] is (until == "playable")
    assert (video["playback"] is not None) is (until == "playable")
    assert video["error"] == (
        {"code": "media_invalid", "message": "It is no video."} if until == "failed" else None
    )
    rates = {item["name"]: item["bitrate"] for item in video["renditions"]}
    assert rates == (
        {"240p": 300_000, "480p": 900_000, "audio-0": 128_000} if until in {"processing", "playable"} else {}
    )
    assert all(item["url"] is None for item in video["renditions"]) or until == "playable"


def test_playback_addresses_open_the_video_and_nothing_else(instance: Instance) -> None:
    """HLS and DASH share a token for this video and generation, good until the stated time, with a session of its own."""
    video_id = instance.video()
    first = get(instance, f"/api/videos/{video_id}")["playback"]
    second = get(instance, f"/api/videos/{video_id}")["playback"]
    _, _, token, in_path, generation_id, name = urlsplit(first["hls"]).path.split("/")
    assert (in_path, name) == (video_id, "master.m3u8")
    assert first["dash"] == first["hls"].replace("master.m3u8", "manifest.mpd")
    grant = playback.verify(instance.keyring, token, video_id=video_id, generation_id=generation_id, now=NOW)
    assert grant.expires == int(NOW) + 3616
    assert datetime.fromisoformat(first["expires_at"]).timestamp() == grant.expires
    assert grant.session_id == first["session_id"] != second["session_id"]


def test_a_viewing_goes_on_with_fresh_addresses(instance: Instance) -> None:
    """The session that is named stays, so that the log tells one story; what is no session is refused."""
    path = f"/api/videos/{instance.video()}"
    first = get(instance, path)["playback"]
    instance.clock.now += 600
    second = get(instance, path, session=first["session_id"])["playback"]
    assert second["session_id"] == first["session_id"]
    assert second["hls"] != first["hls"]
    assert second["expires_at"] > first["expires_at"]
    for bad in ("x", "z" * 26, first["session_id"] + "0"):
        assert instance.client.get(path, params={"session": bad}).status_code == 422


def test_limits_travel_in_the_token(instance: Instance) -> None:
    """A highest rung, by its name, and an origin bind the address, and rungs above are not listed."""
    video_id = instance.video()
    video = get(instance, f"/api/videos/{video_id}", max_height=479, origin="https://site.example")
    assert [item["name"] for item in video["renditions"]] == ["240p", "audio-0"]
    _, _, token, _, generation_id, _ = urlsplit(video["playback"]["hls"]).path.split("/")
    grant = playback.verify(instance.keyring, token, video_id=video_id, generation_id=generation_id, now=NOW)
    assert (grant.max_height, grant.origin) == (479, "https://site.example")


@pytest.mark.parametrize(
    ("visibility", "until"), list(product(Visibility, ["pending", "processing", "ready", "failed"]))
)
def test_a_private_video_does_not_exist_for_others(
    instance: Instance, visibility: Visibility, until: str
) -> None:
    """Its address answers as one that was never given; public and unlisted ones show what is not the owner's alone."""
    video_id = instance.video(visibility=visibility, until=until)
    path, unknown = f"/api/videos/{video_id}", f"/api/videos/{identity.new_id()}"
    for caller in CALLERS:
        response = instance.client.get(path, headers=instance.headers(caller))
        if caller not in {"olga", "adam"} and visibility is Visibility.PRIVATE:
            absent = instance.client.get(unknown, headers=instance.headers(caller))
            assert response.status_code == absent.status_code == 404
            assert response.json() | {"request_id": ""} == absent.json() | {"request_id": ""}
            continue
        video = response.json()
        assert response.status_code == 200
        if caller in {"olga", "adam"}:
            assert video["filename"] == "clip.mp4"
        else:
            assert (video["filename"], video["error"], video["duplicate_of"]) == (None, None, None)
        assert (video["playback"] is not None) is (until == "ready")


@pytest.mark.parametrize("video_id", ["x", "..%2f..", "0" * 26, "z" * 26, "%00", "' OR 1=1 --"])
def test_a_malformed_id_is_an_unknown_video(instance: Instance, video_id: str) -> None:
    """It never reaches the records."""
    response = instance.client.get(f"/api/videos/{video_id}", headers=instance.headers("adam"))
    assert response.status_code == 404


def test_a_watch_link_opens_one_private_video_for_a_week(instance: Instance) -> None:
    """Its holder needs no account; it shows no more than a viewer may see, opens no other video, and ends."""
    video_id, other = (instance.video(visibility=Visibility.PRIVATE) for _ in range(2))
    link = get(instance, f"/api/videos/{video_id}")["watch_url"]
    assert link.startswith(f"{CALLED}/watch/{video_id}?t=")
    [t] = parse_qs(urlsplit(link).query)["t"]
    seen = get(instance, f"/api/videos/{video_id}", None, t=t)
    assert seen["playback"]["hls"]
    assert (seen["filename"], seen["watch_url"]) == (None, None)
    refused = instance.client.get(f"/api/videos/{other}", params={"t": t})
    assert code(refused) == (403, "signature_invalid")
    assert code(instance.client.delete(f"/api/videos/{video_id}", params={"t": t})) == (
        401,
        "unauthenticated",
    )
    instance.clock.now = NOW + 7 * 24 * 3600
    assert code(instance.client.get(f"/api/videos/{video_id}", params={"t": t})) == (403, "signature_expired")


def test_a_signature_for_another_purpose_is_no_watch_link(instance: Instance) -> None:
    """A part's upload address, for instance."""
    video_id = instance.video(visibility=Visibility.PRIVATE)
    t = signed_urls.sign(
        instance.keyring, purpose="upload-part", method="GET", resource=video_id, expires=int(NOW) + 60
    )
    assert code(instance.client.get(f"/api/videos/{video_id}", params={"t": t})) == (403, "signature_invalid")


def test_a_list_shows_what_its_caller_may_read(instance: Instance) -> None:
    """One's own in every state, of others the public ones that can be played, to an administrator everything."""
    mine = {
        (visibility, until): instance.video(visibility=visibility, until=until)
        for visibility, until in product(Visibility, ["pending", "processing", "playable", "ready", "failed"])
    }
    gone = instance.video()
    instance.delete(gone)
    playable = {mine[Visibility.PUBLIC, "playable"], mine[Visibility.PUBLIC, "ready"]}
    expected = {"olga": set(mine.values()), "adam": set(mine.values())} | dict.fromkeys(
        ("stan", "rita", None), playable
    )
    for caller, ids in expected.items():
        assert {item["id"] for item in get(instance, "/api/videos", caller)["items"]} == ids
    deleted = {caller: get(instance, "/api/videos", caller, state="deleted")["items"] for caller in CALLERS}
    assert {caller: len(items) for caller, items in deleted.items()} == {
        "olga": 1,
        "adam": 1,
        "stan": 0,
        "rita": 0,
        None: 0,
    }


def test_a_list_is_searched_filtered_and_sorted(instance: Instance) -> None:
    """By part of the title in any case, by owner, by state; newest first unless told otherwise."""
    red = instance.video(title="Red Fox")
    blue = instance.video(title="Blue fox", until="playable")
    other = instance.video(owner="stan", title="Green fox")

    def ids(**query: str) -> list[str]:
        return [item["id"] for item in get(instance, "/api/videos", "olga", **query)["items"]]

    assert ids() == sorted([red, blue, other], reverse=True)
    assert ids(sort="created") == sorted([red, blue, other])
    assert ids(sort="title") == [blue, other, red]
    assert set(ids(search="FOX")) == {red, blue, other}
    assert ids(search="red f") == [red]
    assert ids(search="%") == []
    assert ids(owner="me", sort="title") == [blue, red]
    assert ids(owner=instance.accounts["stan"]) == [other]
    assert ids(state="processing") == [blue]


def test_a_filename_is_found_by_who_may_see_it(instance: Instance) -> None:
    """Searching does not tell a stranger what the answer hides, and a new title replaces the old in searches."""
    video_id = instance.video(title="Holiday", filename="Annual Report.mov")
    found = {
        caller: len(get(instance, "/api/videos", caller, search="report")["items"]) for caller in CALLERS
    }
    assert found == {"olga": 1, "adam": 1, "stan": 0, "rita": 0, None: 0}
    instance.client.patch(
        f"/api/videos/{video_id}", headers=instance.headers("olga"), json={"title": "ÜBER Berge"}
    )
    assert [
        len(get(instance, "/api/videos", None, search=text)["items"]) for text in ("über", "holiday")
    ] == [1, 0]


@pytest.mark.parametrize("sort", ["-created", "created", "title"])
def test_pages_neither_repeat_nor_miss_while_videos_come_and_go(instance: Instance, sort: str) -> None:
    """Following the cursors gives every video that was there all along exactly once."""
    there = [instance.video(title=f"Clip {number % 3}", until="pending") for number in range(7)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = get(instance, "/api/videos", "olga", sort=sort, limit=2, **cursor)
        seen += [item["id"] for item in page["items"]]
        instance.video(title="Clip 1", until="pending")
        if page["next_cursor"] is None or len(seen) > 30:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert len(seen) == len(set(seen))
    assert set(there) <= set(seen)


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 201},
        {"sort": "size"},
        {"state": "lost"},
        {"owner": "somebody"},
        {"search": "a\0b"},
        {"cursor": "nonsense"},
        {"max_height": 0},
        {"origin": "javascript:alert(1)"},
    ],
)
def test_a_senseless_query_is_refused_with_its_pointer(instance: Instance, query: dict[str, Any]) -> None:
    """The answer names the parameter."""
    single = query.keys() & {"max_height", "origin"}
    path = f"/api/videos/{instance.video()}" if single else "/api/videos"
    response = instance.client.get(path, params=query, headers=instance.headers("olga"))
    assert response.status_code == 422
    assert [item["pointer"] for item in response.json()["errors"]] == [f"/query/{next(iter(query))}"]


def test_title_and_visibility_can_be_changed(instance: Instance) -> None:
    """One at a time or both; what is left out stays, and the change is visible at once."""
    video_id = instance.video(title="Before")
    path, headers = f"/api/videos/{video_id}", instance.headers("olga")
    assert (
        instance.client.patch(path, headers=headers, json={"title": "  After  "}).json()["title"] == "After"
    )
    changed = instance.client.patch(path, headers=headers, json={"visibility": "private"}).json()
    assert (changed["title"], changed["visibility"]) == ("After", "private")
    assert instance.client.get(path).status_code == 404


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"title": ""},
        {"title": "   "},
        {"title": "a\nb"},
        {"title": "x" * 513},
        {"visibility": "secret"},
        {"state": "ready"},
        [],
        "x",
    ],
)
def test_a_senseless_change_changes_nothing(instance: Instance, change: object) -> None:
    """Empty, too long, with control characters, of another field, or no object."""
    path = f"/api/videos/{instance.video(title='Before')}"
    response = instance.client.patch(path, headers=instance.headers("olga"), json=change)
    assert code(response) == (422, "invalid_request")
    assert get(instance, path)["title"] == "Before"


def test_half_a_character_is_no_title(instance: Instance) -> None:
    """A lone surrogate, which JSON can spell and no database can store."""
    response = instance.client.patch(
        f"/api/videos/{instance.video()}",
        headers={**instance.headers("olga"), "content-type": "application/json"},
        content=rb'{"title": "\ud800"}',
    )
    assert code(response) == (422, "invalid_request")


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "POST"])
def test_only_the_owner_and_administrators_change_a_video(instance: Instance, method: str) -> None:
    """A stranger is refused, nobody is asked who he is, and a key without the scope is told so."""
    expected = {"stan": (403, "not_owner"), "rita": (403, "scope_missing"), None: (401, "unauthenticated")}
    for caller, answer in expected.items():
        path = f"/api/videos/{instance.video(until='failed')}" + ("/retry" if method == "POST" else "")
        body = {"title": "Mine now"} if method == "PATCH" else None
        response = instance.client.request(method, path, headers=instance.headers(caller), json=body)
        assert code(response) == answer
    assert instance.announced == []


@pytest.mark.parametrize("caller", ["olga", "adam"])
def test_deleting_ends_a_video_and_can_be_repeated(instance: Instance, caller: str) -> None:
    """Processing is told, the history says who, viewers find nothing, and the second time gives the same answer."""
    video_id = instance.video(until="playable")
    path, headers = f"/api/videos/{video_id}", instance.headers(caller)
    for _ in range(2):
        response = instance.client.delete(path, headers=headers)
        assert (response.status_code, response.content) == (204, b"")
    assert instance.announced
    assert [line for line in instance.history(video_id) if line[0] == "deleted"] == [
        ("deleted", f"account:{instance.accounts[caller]}")
    ]
    assert code(instance.client.get(path)) == (404, "video_not_found")
    answer = get(instance, path, caller)
    assert (answer["state"], answer["playable"], answer["playback"]) == ("deleted", False, None)
    assert code(instance.client.patch(path, headers=headers, json={"title": "x"})) == (404, "video_deleted")


def test_a_failed_video_can_be_retried(instance: Instance) -> None:
    """It is uploaded again, the reason is gone, and processing is told."""
    video_id = instance.video(until="failed")
    response = instance.client.post(f"/api/videos/{video_id}/retry", headers=instance.headers("olga"))
    assert response.status_code == 202
    assert (response.json()["state"], response.json()["error"]) == ("uploaded", None)
    assert instance.announced == ["!"]
    assert ("retried", f"account:{instance.accounts['olga']}") in instance.history(video_id)


@pytest.mark.parametrize("until", ["pending", "uploaded", "processing", "ready"])
def test_only_a_failed_video_can_be_retried(instance: Instance, until: str) -> None:
    """Anything else is told what state it is in, and nothing changes."""
    video_id = instance.video(until=until)
    response = instance.client.post(f"/api/videos/{video_id}/retry", headers=instance.headers("olga"))
    assert code(response) == (409, "illegal_transition")
    assert response.json()["detail"].startswith(f"The video is {until}; only a failed one can be retried.")
    assert instance.announced == []


def test_a_ready_video_can_be_made_anew(instance: Instance) -> None:
    """It plays on, its timings count from now, and processing is told; a second time has to wait."""
    video_id = instance.video(until="ready")
    path, headers = f"/api/videos/{video_id}/reprocess", instance.headers("olga")
    response = instance.client.post(path, headers=headers)
    assert response.status_code == 202
    assert (response.json()["state"], response.json()["playable"]) == ("ready", True)
    assert instance.announced == ["!"]
    assert ("reprocessed", f"account:{instance.accounts['olga']}") in instance.history(video_id)
    assert code(instance.client.post(path, headers=headers)) == (409, "already_processing")
    assert code(instance.client.post(path, headers=instance.headers("stan"))) == (403, "not_owner")


@pytest.mark.parametrize("until", ["pending", "uploaded", "processing", "failed"])
def test_only_a_ready_video_can_be_made_anew(instance: Instance, until: str) -> None:
    """Anything else is told what state it is in, and nothing changes."""
    path = f"/api/videos/{instance.video(until=until)}/reprocess"
    response = instance.client.post(path, headers=instance.headers("olga"))
    assert code(response)[0] == 409
    assert instance.announced == []


def test_a_caller_learns_who_he_is(instance: Instance) -> None:
    """Account, role, and what the key may be used for; nobody is asked to say."""
    me = get(instance, "/api/me", "rita")
    assert (me["login"], me["name"], me["role"], me["scopes"]) == ("rita", "Rita", "user", ["read"])
    assert get(instance, "/api/me", "adam")["role"] == "admin"
    assert code(instance.client.get("/api/me")) == (401, "unauthenticated")
    assert code(instance.client.get("/api/videos", params={"owner": "me"})) == (401, "unauthenticated")
    bad = instance.client.get("/api/me", headers={"authorization": "Bearer pst_nonsense"})
    assert code(bad) == (401, "api_key_invalid")


def test_the_use_of_a_key_is_noted(instance: Instance) -> None:
    """Its owner can see which keys are in use."""
    from penstock.catalog import accounts

    with instance.catalog.read() as tx:
        [before] = accounts.keys_of(tx, instance.accounts["stan"])
    get(instance, "/api/me", "stan")
    with instance.catalog.read() as tx:
        [after] = accounts.keys_of(tx, instance.accounts["stan"])
    assert (before.last_used_at, after.last_used_at is not None) == (None, True)


def test_a_revoked_key_opens_nothing(instance: Instance) -> None:
    """From the moment of its revocation."""
    from penstock.catalog import accounts

    with instance.catalog.write() as tx:
        [key] = accounts.keys_of(tx, instance.accounts["stan"])
        accounts.revoke_key(tx, instance.accounts["stan"], key.id)
    response = instance.client.get("/api/me", headers=instance.headers("stan"))
    assert code(response) == (401, "api_key_invalid")
