from pathlib import Path
from subprocess import run as execute
from threading import Event

import pytest

from penstock.ffmpeg import commands, graphs
from penstock.ffmpeg.encode import encode_audio
from penstock.ffmpeg.outputs import EncodedInit, EncodedSegment
from penstock.ffmpeg.run import run
from penstock.ffmpeg.tools import Tools
from penstock.video.errors import Cancelled
from penstock.video.plan import Settings
from tests.media.conftest import Make
from tests.media.whole import Planned, joined_sound, planned

CLIPS = [
    "bigbuckbunny.mp4",
    "car-detection.mp4",
    "hdr10-av1.mp4",
    "sample.avi",
    "sample_eac3.mp4",
    "sample_with_srt.mkv",
]


def packets(tools: Tools, *arguments: str | Path) -> list[str]:
    """Duration, size and SHA-256 of every audio packet that FFmpeg makes of these arguments, in order."""
    command: list[str | Path] = [
        tools.ffmpeg,
        "-v",
        "error",
        "-nostdin",
        *arguments,
        "-f",
        "framehash",
        "-hash",
        "sha256",
        "-",
    ]
    report = execute(command, check=True, capture_output=True, text=True, timeout=300).stdout
    return [
        ",".join(line.split(",")[3:6]) for line in report.splitlines() if line and not line.startswith("#")
    ]


@pytest.mark.parametrize("clip", CLIPS)
def test_joined_sound_is_packet_for_packet_a_whole_file_encode(
    tools: Tools, clips: Path, tmp_path: Path, clip: str
) -> None:
    """No encoder delay inside: segments are cut from one run, not encoded apart."""
    work = planned(tools, clips / clip)
    for track in work.plan.audio:
        joined = joined_sound(tools, work, tmp_path)[track.name]
        graph = graphs.sound(work.plan, track, None)
        encoding = ["-c:a", "aac", "-b:a", str(track.bitrate), "-map_metadata", "-1", "-fflags", "+bitexact"]
        whole = packets(
            tools, "-copyts", "-i", work.source, "-filter_complex", graph, "-map", "[a0]", *encoding
        )
        assert packets(tools, "-i", joined, "-c", "copy") == whole


def test_segments_are_about_as_long_as_the_pictures(tools: Tools, clips: Path, tmp_path: Path) -> None:
    """Whole AAC frames, end to end from zero, each announced when it is complete."""
    work = planned(tools, clips / "car-detection.mp4", Settings())
    (track,) = work.plan.audio
    heard: list[EncodedInit | EncodedSegment] = []
    progress: list[float] = []
    made = encode_audio(
        tools,
        work.source,
        work.plan,
        track,
        tmp_path,
        on_init=heard.append,
        on_segment=heard.append,
        on_progress=progress.append,
    )
    assert heard == [made.init, *made.segments]
    assert (made.init.codecs, made.init.timescale) == ("mp4a.40.2", 48_000)
    assert [segment.number for segment in made.segments] == list(range(1, 9))
    assert {segment.duration for segment in made.segments[:-1]} == {track.segment_samples} == {188 * 1024}
    end = 0
    for segment in made.segments:
        assert segment.start == end
        end += segment.duration
    assert abs(end / 48_000 - 30.16) < 0.1
    assert progress == sorted(progress)


@pytest.fixture
def long(tools: Tools, clips: Path, make: Make) -> Planned:
    """Ten minutes of sound, by looping a clip."""
    looped = make(
        "long.mp4", "-stream_loop", "19", "-i", clips / "car-detection.mp4", "-map", "0:a", "-c", "copy"
    )
    return planned(tools, looped, Settings())


def test_a_long_track_is_announced_while_it_is_encoded(tools: Tools, long: Planned, tmp_path: Path) -> None:
    """So that play begins before the end: the first segments come when little is done."""
    events: list[float | int] = []
    encode_audio(
        tools,
        long.source,
        long.plan,
        long.plan.audio[0],
        tmp_path,
        on_segment=lambda segment: events.append(segment.number),
        on_progress=events.append,
    )
    reports = [n for n, event in enumerate(events) if isinstance(event, float)]
    assert events.index(1) < reports[-1]
    assert [event for event in events if isinstance(event, int)] == list(range(1, 152))


def test_cancelling_stops_the_sound_where_it_is(tools: Tools, long: Planned, tmp_path: Path) -> None:
    """At once."""
    cancel = Event()
    with pytest.raises(Cancelled):
        encode_audio(
            tools,
            long.source,
            long.plan,
            long.plan.audio[0],
            tmp_path,
            on_segment=lambda _: cancel.set(),
            cancel=cancel,
        )


def test_the_same_sound_encoded_twice_is_the_same_bytes(tools: Tools, clips: Path, tmp_path: Path) -> None:
    """So a segment that was committed by a lost attempt stays right."""
    work = planned(tools, clips / "bigbuckbunny.mp4")
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        made.append([joined.read_bytes() for joined in joined_sound(tools, work, tmp_path / name).values()])
    assert made[0] == made[1]


def loudness(tools: Tools, media: Path) -> float:
    """Integrated loudness in LUFS."""
    command: list[str | Path] = [
        tools.ffmpeg,
        "-nostdin",
        "-nostats",
        "-i",
        media,
        "-af",
        "ebur128=framelog=quiet",
        "-f",
        "null",
        "-",
    ]
    report = execute(command, check=True, capture_output=True, text=True, timeout=300).stderr
    return float(report.rpartition("I:")[2].split()[0])


@pytest.mark.parametrize("volume", ["-20dB", "0dB", "6dB"])
def test_loudness_is_brought_to_the_target_where_asked(
    tools: Tools, clips: Path, tmp_path: Path, make: Make, volume: str
) -> None:
    """-16 LUFS whatever came in, within the measurement's tolerance and what a limiter takes."""
    source = make(
        "source.mkv",
        "-i",
        clips / "bigbuckbunny.mp4",
        "-vn",
        "-ac",
        "2",
        "-af",
        f"volume={volume}",
        "-c:a",
        "flac",
    )
    work = planned(tools, source, Settings(loudness=True))
    (made,) = joined_sound(tools, work, tmp_path).values()
    assert abs(loudness(tools, made) + 16) < 1


def test_silence_stays_silence(tools: Tools, tmp_path: Path, make: Make) -> None:
    """There is nothing to raise."""
    source = make("silence.wav", "-f", "lavfi", "-i", "anullsrc=r=48000:cl=stereo", "-t", "2")
    work = planned(tools, source, Settings(loudness=True))
    (made,) = joined_sound(tools, work, tmp_path).values()
    assert loudness(tools, made) <= -70


def test_surround_sound_is_offered_beside_stereo(tools: Tools, clips: Path, tmp_path: Path) -> None:
    """Two tracks from one stream, each with its own number of channels."""
    work = planned(tools, clips / "bigbuckbunny.mp4")
    made = joined_sound(tools, work, tmp_path)
    channels = {}
    for name, joined in made.items():
        answer = bytearray()
        run(tools, commands.probe(joined, 1, tools.config.max_pixels), {1: answer.extend})
        channels[name] = int(answer.split(b'"channels": ')[1].split(b",")[0])
    assert channels == {"audio-0": 2, "audio-1": 6}
