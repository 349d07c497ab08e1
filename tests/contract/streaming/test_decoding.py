"""Real media over HTTP, decoded whole by FFmpeg from both manifests and while a video grows."""

import subprocess
from dataclasses import dataclass, replace
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

import httpx
import imageio_ffmpeg
import m3u8
import pytest

from penstock.ffmpeg.fragments import Fragment, FragmentReader, InitSegment
from penstock.video import keys
from penstock.video.identity import new_id
from penstock.video.timeline import Artefact, Keyframe, Segment, Timeline, TimelineState, Track, TrackKind
from tests.contract.streaming.stage import PATIENCE, Node, Stage
from tests.unit.manifests import timelines as make

FRAMES = 330  # 13.2 s: three segments of 100 frames and a short one
RUNGS = {"144p": (256, 144), "240p": (426, 240)}
SOURCE_LOOPS = "2"  # the clip is 132 frames long


def ffmpeg(*arguments: str) -> bytes:
    """Runs FFmpeg and gives what it writes."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def encoded(clips: Path, *arguments: str) -> tuple[InitSegment, list[Fragment]]:
    """A part of the clip as fragmented MP4, read by the program's own reader."""
    source = ["-stream_loop", SOURCE_LOOPS, "-i", str(clips / "bigbuckbunny.mp4")]
    output = ["-map_metadata", "-1", "-f", "mp4", "pipe:1"]
    reader = FragmentReader()
    init, *fragments = reader.feed(ffmpeg(*source, *arguments, *output))
    reader.close()
    assert isinstance(init, InitSegment)
    return init, [fragment for fragment in fragments if isinstance(fragment, Fragment)]


@dataclass(frozen=True)
class Real:
    """A published video of real media."""

    timeline: Timeline
    joined: dict[str, Path]  # the init segment and all segments of each track, as one file


def stored(stage: Stage, prefix: str, track: Track, parts: list[list[Fragment]], init: InitSegment) -> Track:
    """The track with its segments in the store; each part is the fragments of one segment."""
    init_key = keys.init_segment(prefix, track.name)
    stage.outputs.put(init_key, init.data)
    digest = sha256(init.data).hexdigest()[:32]
    segments = []
    for number, part in enumerate(parts, 1):
        data = b"".join(fragment.head + fragment.body for fragment in part)
        stage.outputs.put(keys.media_segment(prefix, track.name, number), data)
        offsets = [sum(f.size for f in part[:index]) for index in range(len(part))]
        frames = tuple(
            Keyframe(offset, fragment.keyframe_length, fragment.duration)
            for offset, fragment in zip(offsets, part, strict=True)
            if track.kind is TrackKind.VIDEO
        )
        duration = sum(fragment.duration for fragment in part)
        etag = sha256(data).hexdigest()[:32]
        segments.append(Segment(number, part[0].start, duration, len(data), etag, prefix, frames))
    return replace(
        track,
        codecs=init.codecs,
        timescale=init.timescale,
        init=Artefact("init.mp4", init_key, len(init.data), digest, "video/mp4"),
        segments=tuple(segments),
        frame_rate=Fraction(25) if track.kind is TrackKind.VIDEO else None,
    )


@pytest.fixture(scope="module")
def real(clips: Path, stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Real:
    """Two rungs and sound, encoded as the media recipe says."""
    video_id, prefix = new_id(), ""
    prefix = keys.attempt_prefix(video_id, new_id(), 1)
    tracks = []
    for name, (width, height) in RUNGS.items():
        init, fragments = encoded(
            clips,
            *("-map", "0:v:0", "-vf", f"scale={width}:{height},setsar=1", "-frames:v", str(FRAMES)),
            *("-c:v", "libx264", "-preset", "ultrafast", "-g", "50", "-keyint_min", "50"),
            *("-x264-params", "scenecut=0:open-gop=0", "-pix_fmt", "yuv420p", "-threads", "1"),
            *("-video_track_timescale", "12800", "-use_editlist", "0"),
            *("-movflags", "+cmaf+frag_keyframe+frag_discont+skip_trailer"),
        )
        rung = replace(make.video(0), name=name, width=width, height=height, bandwidth=400_000)
        parts = [fragments[index : index + 2] for index in range(0, len(fragments), 2)]
        tracks.append(stored(stage, prefix, rung, parts, init))
    init, fragments = encoded(
        clips,
        *("-map", "0:a:0", "-t", str(FRAMES / 25), "-c:a", "aac", "-b:a", "96k", "-ac", "2", "-ar", "48000"),
        *("-frag_duration", "4000000", "-movflags", "+cmaf+delay_moov+skip_trailer"),
    )
    tracks.append(stored(stage, prefix, make.audio(0, default=True), [[f] for f in fragments], init))
    timeline = replace(make.timeline(tracks), video_id=video_id, generation_id=new_id(), version=9)
    folder = tmp_path_factory.mktemp("joined")
    joined = {}
    for track in timeline.tracks:
        joined[track.name] = folder / f"{track.name}.mp4"
        parts_of = [
            stage.outputs.get(track.init.key),
            *(stage.outputs.get(track.key(s)) for s in track.segments),
        ]
        joined[track.name].write_bytes(b"".join(parts_of))
    return Real(timeline, joined)


@pytest.fixture(scope="module")
def published(real: Real, stage: Stage) -> Timeline:
    """The whole video, frozen."""
    stage.publish(real.timeline)
    return real.timeline


def frames(url: str, stream: str) -> list[str]:
    """Time and digest of every decoded picture or block of sound, on the media's own clock."""
    text = ffmpeg("-copyts", "-i", url, "-map", stream, "-f", "framemd5", "pipe:1").decode()
    return [line for line in text.splitlines() if not line.startswith("#")]


def digests(lines: list[str]) -> list[str]:
    """The digests alone."""
    return [line.rpartition(",")[2].strip() for line in lines]


@pytest.fixture(params=["master.m3u8", "manifest.mpd"])
def manifest(request: pytest.FixtureRequest, stage: Stage, node: Node, published: Timeline) -> str:
    """The address of each manifest in turn."""
    return node.base + stage.path(published, request.param)


@pytest.mark.parametrize("rung", list(RUNGS))
def test_every_frame_of_every_rung_arrives(manifest: str, real: Real, rung: str) -> None:
    """What FFmpeg decodes over HTTP is what it decodes from the objects themselves, picture for picture."""
    index = list(RUNGS).index(rung)
    direct = frames(str(real.joined[rung]), "0:v:0")
    assert len(direct) == FRAMES
    assert frames(manifest, f"0:v:{index}") == direct


def test_the_sound_arrives_whole_and_in_time(
    stage: Stage, node: Node, real: Real, published: Timeline
) -> None:
    """The same samples at the same times from zero on: the encoder's delay is taken off once, by the edit list."""
    direct = frames(str(real.joined["audio-0"]), "0:a:0")
    assert direct[0].split(",")[2].strip() == "0"
    assert frames(node.base + stage.path(published, "master.m3u8"), "0:a:0") == direct


def test_the_sound_is_in_time_in_dash_too(stage: Stage, node: Node, real: Real, published: Timeline) -> None:
    """FFmpeg opens each segment anew and takes the delay off each, so it lacks a block at each join; browsers do not."""
    direct = frames(str(real.joined["audio-0"]), "0:a:0")
    heard = frames(node.base + stage.path(published, "manifest.mpd"), "0:a:0")
    assert [line for line in direct if line in set(heard)] == heard
    assert (heard[0], heard[-1]) == (direct[0], direct[-1])
    assert len(direct) - len(heard) < len(published.audio_tracks[0].segments)


def test_keyframes_are_pictures_by_themselves(
    client: httpx.Client, stage: Stage, published: Timeline, tmp_path: Path
) -> None:
    """Each byte range of the I-frame playlist decodes to one picture, with nothing but the init segment before it."""
    playlist = m3u8.loads(client.get(stage.path(published, "144p/iframes.m3u8")).text)
    init = client.get(stage.path(published, "144p/init.mp4")).content
    assert len(playlist.segments) == -(-FRAMES // 50)
    for item in playlist.segments:
        length, offset = (int(part) for part in item.byterange.split("@"))
        header = {"range": f"bytes={offset}-{offset + length - 1}"}
        part = client.get(stage.path(published, f"144p/{item.uri}"), headers=header).content
        (tmp_path / "picture.mp4").write_bytes(init + part)
        assert len(frames(str(tmp_path / "picture.mp4"), "0:v:0")) == 1


def test_a_growing_video_is_played_from_its_beginning_to_its_end(
    stage: Stage, node: Node, real: Real
) -> None:
    """A player that joins at the first segments goes on through what is published later, and stops at the end."""
    final = replace(real.timeline, generation_id=new_id(), version=2)
    first = [replace(track, segments=track.segments[:1]) for track in final.tracks]
    stage.publish(
        replace(
            final,
            version=1,
            state=TimelineState.GROWING,
            tracks=tuple(replace(t, complete=False) for t in first),
        )
    )
    session = new_id()
    url = node.base + stage.path(final, "144p/index.m3u8", session_id=session)
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-nostdin",
        "-i",
        url,
        "-f",
        "framemd5",
        "pipe:1",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as player:
        node.lines("segment_served", session=session, count=1)
        stage.publish(final)
        output, _ = player.communicate(timeout=PATIENCE)
    assert player.returncode == 0
    played = [line for line in output.splitlines() if not line.startswith("#")]
    assert digests(played) == digests(frames(str(real.joined["144p"]), "0:v:0"))
