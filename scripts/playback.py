"""Watches a published video with eyes that are not Penstock's.

FFmpeg decodes the manifests, and the result is compared with the source, frame by frame and by the sound. This file knows
addresses and files only, and nothing of how the video was made.
"""

import operator
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urljoin
from urllib.request import urlopen
from xml.etree import ElementTree as ET

import imageio_ffmpeg

FFMPEG: str = imageio_ffmpeg.get_ffmpeg_exe()
SOUND_RATE = 2000  # Hz; half a millisecond of resolution, twenty times finer than a frame
THUMB = (32, 18)  # enough to tell one frame from its neighbours, small enough to compare in Python


class PlaybackWrong(Exception):
    """What a player would get is not what was promised; the message says where."""


@dataclass(frozen=True, slots=True)
class Offsets:
    """How far picture and sound lie from the source, in seconds; positive: later than the source."""

    picture: float
    sound: float


def _ffmpeg(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        [FFMPEG, "-hide_banner", "-nostdin", "-loglevel", "error", *arguments],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise PlaybackWrong(f"decoding failed: {done.stderr.decode(errors='replace').strip()[-2000:]}")
    return done


def _fetch(url: str) -> str:
    with urlopen(url, timeout=30) as answer:  # noqa: S310 - an address that our own service gave
        text: str = answer.read().decode()
        return text


def hls_variants(master_url: str) -> dict[str, str]:
    """Rung name to address of its playlist, from an HLS multivariant playlist; the name is the playlist's folder."""
    lines = _fetch(master_url).splitlines()
    found = [
        lines[number + 1]
        for number, line in enumerate(lines)
        if line.startswith("#EXT-X-STREAM-INF") and number + 1 < len(lines)
    ]
    return {uri.split("/")[-2]: urljoin(master_url, uri) for uri in found}


def dash_representations(manifest_url: str) -> list[str]:
    """Names of the video representations of a DASH manifest, in its order, which is FFmpeg's stream order."""
    root = ET.fromstring(_fetch(manifest_url))  # noqa: S314 - our own service's document
    space = {"d": "urn:mpeg:dash:schema:mpd:2011"}
    return [
        representation.attrib["id"]
        for adaptation in root.iterfind(".//d:AdaptationSet", space)
        if "video" in (adaptation.get("contentType") or adaptation.get("mimeType") or "")
        for representation in adaptation.iterfind("d:Representation", space)
    ]


def frames(url: str, stream: str = "0:v:0") -> int:
    """Decode one video stream whole and count the frames that come out."""
    done = _ffmpeg(
        "-i", url, "-map", stream, "-fps_mode", "passthrough", "-progress", "pipe:1", "-f", "null", "-"
    )
    if done.stderr.strip():
        raise PlaybackWrong(
            f"{url} decodes with complaints: {done.stderr.decode(errors='replace').strip()[-2000:]}"
        )
    counts = re.findall(rb"^frame=(\d+)$", done.stdout, re.MULTILINE)
    return int(counts[-1]) if counts else 0


def hls_frames(master_url: str) -> dict[str, int]:
    """Decoded frames of every rung, by HLS."""
    return {name: frames(url) for name, url in hls_variants(master_url).items()}


def dash_frames(manifest_url: str) -> dict[str, int]:
    """Decoded frames of every rung, by DASH."""
    names = dash_representations(manifest_url)
    return {name: frames(manifest_url, f"0:v:{number}") for number, name in enumerate(names)}


def _thumbnails(url: str, stream: str, rate: str, count: int) -> list[bytes]:
    width, height = THUMB
    graph = f"fps={rate}:start_time=0,scale={width}:{height}:flags=area,format=gray"
    raw = _ffmpeg(
        "-copyts", "-i", url, "-map", stream, "-vf", graph, "-frames:v", str(count), "-f", "rawvideo", "-"
    ).stdout
    size = width * height
    return [raw[at : at + size] for at in range(0, len(raw) - size + 1, size)]


def _sound(url: str, seconds: float) -> list[int]:
    # Sound is placed by its times, as players do. FFmpeg's DASH reader begins each segment with the edit list anew and drops
    # the first 1024 samples of each as if they were the encoder's delay: without this the rest would move up by 21 ms each.
    graph = "aresample=async=1:min_hard_comp=0.01:first_pts=0,pan=mono|c0=FL+FR,highpass=f=60"
    done = _ffmpeg(
        *("-copyts", "-i", url, "-map", "0:a:0", "-af", f"{graph},aresample={SOUND_RATE}"),
        *("-t", str(seconds), "-f", "s16le", "-"),
    )
    return list(memoryview(done.stdout[: len(done.stdout) // 2 * 2]).cast("h"))


def best_lag(reference: Sequence[int], heard: Sequence[int], most: int) -> int:
    """The shift of `heard` against `reference`, in samples and at most `most` either way, at which they agree best."""
    if len(reference) <= 2 * most or len(heard) <= 2 * most:
        raise PlaybackWrong("too little sound to compare")
    middle = reference[most : min(len(reference), len(heard)) - most]

    def agreement(lag: int) -> int:
        return sum(map(operator.mul, middle, heard[most + lag : most + lag + len(middle)]))

    return max(range(-most, most + 1), key=agreement)


def best_picture_lag(reference: Sequence[bytes], seen: Sequence[bytes], most: int) -> int:
    """The shift of `seen` against `reference`, in frames and at most `most` either way, at which they differ least."""
    length = min(len(reference), len(seen)) - 2 * most
    if length <= 0:
        raise PlaybackWrong("too few frames to compare")

    def difference(lag: int) -> int:
        pairs = zip(reference[most : most + length], seen[most + lag : most + lag + length], strict=True)
        return sum(abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True))

    return min(range(-most, most + 1), key=difference)


def offsets(source: str, manifest_url: str, rate: str, seconds: float = 20.0) -> Offsets:
    """Compare the beginning of what a manifest plays with the source it was made from.

    `rate` is the output's frame rate, as FFmpeg writes it (25 or 30000/1001).
    """
    numerator, _, denominator = rate.partition("/")
    per_second = int(numerator) / int(denominator or 1)
    count = int(seconds * per_second)
    picture = best_picture_lag(
        _thumbnails(source, "0:v:0", rate, count), _thumbnails(manifest_url, "0:v:0", rate, count), most=3
    )
    sound = best_lag(_sound(source, seconds), _sound(manifest_url, seconds), most=SOUND_RATE // 5)
    return Offsets(picture / per_second, sound / SOUND_RATE)
