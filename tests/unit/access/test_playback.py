import dataclasses
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from penstock.access import playback, signed_urls
from penstock.access.keyring import Keyring
from penstock.access.playback import PlaybackGrant
from penstock.video import identity
from penstock.video.errors import Forbidden

NOW = 1_790_000_000.0

ids = st.builds(identity.encode, st.integers(0, 2**48 - 1), st.integers(0, 2**80 - 1))
grants = st.builds(
    PlaybackGrant,
    video_id=ids,
    generation_id=ids,
    session_id=ids,
    expires=st.integers(int(NOW) + 1, 2**32 - 1),
    max_height=st.none() | st.integers(1, 65535),
    origin=st.none() | st.from_regex(r"https://[a-z]{1,20}\.example(:[0-9]{1,5})?", fullmatch=True),
)


@pytest.fixture(scope="module")
def keyring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """One ring for the module: property tests would make a file per example."""
    return Keyring(tmp_path_factory.mktemp("access") / "keyring.json", clock=lambda: NOW)


def open_own(keyring: Keyring, token: str, grant: PlaybackGrant, now: float = NOW) -> PlaybackGrant:
    """Verifies a token under the path that its grant belongs to."""
    return playback.verify(
        keyring, token, video_id=grant.video_id, generation_id=grant.generation_id, now=now
    )


@given(grant=grants)
def test_a_token_gives_back_exactly_the_grant_it_was_made_from(
    keyring: Keyring, grant: PlaybackGrant
) -> None:
    """Every field survives, and the token stands in a URL path as it is."""
    token = playback.mint(keyring, grant)
    assert open_own(keyring, token, grant) == grant
    assert token.replace("-", "").replace("_", "").isalnum()


@given(grant=grants, data=st.data())
def test_no_change_of_a_single_bit_is_accepted(
    keyring: Keyring, grant: PlaybackGrant, data: st.DataObject
) -> None:
    """Not in the signed bytes, nor in the bits of the text that carry none."""
    token = playback.mint(keyring, grant)
    position = data.draw(st.integers(0, len(token) - 1))
    altered = (
        token[:position]
        + chr(ord(token[position]) ^ (1 << data.draw(st.integers(0, 6))))
        + token[position + 1 :]
    )
    with pytest.raises(Forbidden) as refused:
        open_own(keyring, altered, grant)
    assert refused.value.code == "token_invalid"


@given(grant=grants, suffix=st.sampled_from(["=", "==", "A", "\n", " ", "%00", "é"]))
def test_a_token_has_only_one_spelling(keyring: Keyring, grant: PlaybackGrant, suffix: str) -> None:
    """Padding, white space and trailing characters are refused, so a token cannot be varied to miss a cache or a log."""
    token = playback.mint(keyring, grant)
    with pytest.raises(Forbidden):
        open_own(keyring, token + suffix, grant)


@given(text=st.text(max_size=600))
def test_arbitrary_text_is_refused_without_another_error(keyring: Keyring, text: str) -> None:
    """Whatever stands in the path, the answer is the one refusal."""
    with pytest.raises(Forbidden) as refused:
        playback.verify(keyring, text, video_id=identity.new_id(), generation_id=identity.new_id(), now=NOW)
    assert refused.value.code == "token_invalid"


@given(grant=grants)
def test_a_token_ends_at_its_expiry(keyring: Keyring, grant: PlaybackGrant) -> None:
    """It is good until the last moment before, and never at or after."""
    token = playback.mint(keyring, grant)
    assert open_own(keyring, token, grant, now=grant.expires - 0.001) == grant
    with pytest.raises(Forbidden) as refused:
        open_own(keyring, token, grant, now=grant.expires)
    assert refused.value.code == "token_expired"


@given(grant=grants, other=ids, same_video=st.booleans())
def test_a_token_opens_nothing_but_its_own_video_and_generation(
    keyring: Keyring, grant: PlaybackGrant, other: str, same_video: bool
) -> None:
    """A good token under another video's or generation's path is foreign."""
    token = playback.mint(keyring, dataclasses.replace(grant, expires=2**32 - 1))
    assume(other not in {grant.video_id, grant.generation_id})
    path = (grant.video_id, other) if same_video else (other, grant.generation_id)
    with pytest.raises(Forbidden) as refused:
        playback.verify(keyring, token, video_id=path[0], generation_id=path[1], now=NOW)
    assert refused.value.code == "token_foreign"


def test_a_token_of_another_instance_is_refused(keyring: Keyring, tmp_path: Path) -> None:
    """Two installations have different keys, and neither believes the other's tokens."""
    grant = PlaybackGrant(identity.new_id(), identity.new_id(), identity.new_id(), int(NOW) + 60)
    stranger = Keyring(tmp_path / "keyring.json", clock=lambda: NOW)
    with pytest.raises(Forbidden) as refused:
        open_own(keyring, playback.mint(stranger, grant), grant)
    assert refused.value.code == "token_invalid"


def test_a_key_that_is_gone_opens_nothing_it_opened_before(tmp_path: Path) -> None:
    """Tokens are remembered, and the ring is asked with each request all the same."""
    path = tmp_path / "keyring.json"
    keyring, other = Keyring(path, clock=lambda: NOW), Keyring(tmp_path / "other.json", clock=lambda: NOW)
    video, generation, session = (identity.encode(int(NOW), number) for number in range(3))
    grant = PlaybackGrant(video, generation, session, expires=int(NOW) + 60)
    token, _ = playback.mint(keyring, grant), playback.mint(other, grant)
    assert open_own(keyring, token, grant) == grant
    path.write_bytes((tmp_path / "other.json").read_bytes())
    keyring.present()
    with pytest.raises(Forbidden) as refused:
        open_own(keyring, token, grant)
    assert refused.value.code == "token_invalid"


def test_a_signed_url_is_never_a_playback_token(keyring: Keyring) -> None:
    """What was sealed for one purpose opens for no other, though the same key made both."""
    video, generation = identity.new_id(), identity.new_id()
    signature = signed_urls.sign(
        keyring, purpose="playback/1", method="GET", resource=video, expires=int(NOW) + 60
    )
    with pytest.raises(Forbidden):
        playback.verify(keyring, signature, video_id=video, generation_id=generation, now=NOW)


def test_limits_of_a_grant_are_enforced() -> None:
    """A rung above the highest and a request from elsewhere are refused; within the limits both pass."""
    grant = PlaybackGrant("v", "g", "s", 0, max_height=720, origin="https://a.example")
    playback.check_height(grant, 720)
    playback.check_height(grant, None)
    playback.check_origin(grant, "https://a.example")
    with pytest.raises(Forbidden) as rung:
        playback.check_height(grant, 1080)
    with pytest.raises(Forbidden) as origin:
        playback.check_origin(grant, None)
    assert (rung.value.code, origin.value.code) == ("token_rung_refused", "token_origin_refused")
