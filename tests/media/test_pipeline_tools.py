"""What processing relies on in media tools. The scripted ones of the simulation keep the same promises as the real ones."""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event

import pytest

from penstock.ffmpeg.outputs import EncodedInit, EncodedSegment
from penstock.ffmpeg.tools import Tools
from penstock.processing import slots
from penstock.processing.media import Media
from penstock.video import plan as planning
from penstock.video.errors import Cancelled, MediaError, StorageFull, ToolFailed
from penstock.video.media import SourceMedia
from penstock.video.plan import Chunk, Plan, ScanResult, Settings
from tests.media.conftest import Make
from tests.simulation.process import SHORT
from tests.simulation.scripted import Script, ScriptedMedia
from tests.simulation.workshop import media_processes


@dataclass(frozen=True)
class Bench:
    """Tools, and a source that they understand, looked at and planned."""

    media: Media
    source: Path
    nonsense: Path
    facts: SourceMedia
    plan: Plan
    scan: ScanResult

    @property
    def chunks(self) -> tuple[Chunk, ...]:
        """All of the source's."""
        return planning.chunks(self.plan, self.scan)


@pytest.fixture(params=["real", "scripted"])
def bench(request: pytest.FixtureRequest, tmp_path: Path, clips: Path) -> Bench:
    """Real tools with a real clip, and scripted ones with a script."""
    media: Media
    if request.param == "real":
        tools: Tools = request.getfixturevalue("tools")
        media, source = Media(tools), clips / "sample_with_srt.mkv"
    else:
        media, source = ScriptedMedia(), tmp_path / "script"
        source.write_bytes(Script("clip", frames=130, header_frames=130, subtitles=1).to_bytes())
    nonsense = tmp_path / "nonsense"
    nonsense.write_bytes(b"neither a film nor a script")
    facts = media.inspect(source, cancel=Event())
    plan = planning.plan(facts, replace(SHORT, fingerprint=media.fingerprint))
    return Bench(media, source, nonsense, facts, plan, media.scan(source, plan, cancel=Event()))


class Taker:
    """Takes what an encode announces and looks at each file at that moment."""

    def __init__(self) -> None:
        self.inits: dict[str, EncodedInit] = {}
        self.segments: dict[str, list[EncodedSegment]] = {}
        self.progress: list[float] = []

    def init(self, made: EncodedInit) -> None:
        """An initialisation segment comes once and before its track's segments."""
        assert made.track not in self.inits
        assert made.track not in self.segments
        self._check(made)
        self.inits[made.track] = made

    def segment(self, made: EncodedSegment) -> None:
        """A segment follows its predecessor."""
        assert made.track in self.inits
        before = self.segments.setdefault(made.track, [])
        if before:
            assert made.number == before[-1].number + 1
            assert made.start == before[-1].start + before[-1].duration
        self._check(made)
        before.append(made)

    def _check(self, made: EncodedInit | EncodedSegment) -> None:
        data = made.path.read_bytes()
        assert len(data) == made.size
        assert hashlib.sha256(data).hexdigest() == made.sha256

    @property
    def digests(self) -> dict[tuple[str, int], str]:
        """Of everything that was taken."""
        found = {(name, 0): init.sha256 for name, init in self.inits.items()}
        return found | {(name, s.number): s.sha256 for name, made in self.segments.items() for s in made}


def encode(
    bench: Bench,
    chunk: Chunk,
    scratch: Path,
    *,
    taker: Taker | None = None,
    pinned: dict[str, str] | None = None,
    on_segment: Callable[[EncodedSegment], None] | None = None,
    cancel: Event | None = None,
) -> Taker:
    """One chunk into a new folder."""
    taker = taker or Taker()
    scratch.mkdir()
    bench.media.encode_chunk(
        bench.source,
        bench.plan,
        chunk,
        scratch,
        pinned=pinned or {},
        on_init=taker.init,
        on_segment=on_segment or taker.segment,
        on_progress=taker.progress.append,
        cancel=cancel or Event(),
    )
    return taker


def test_facts_lead_to_a_plan(bench: Bench) -> None:
    """A source has facts, a plan, packets, and at least two chunks that cover all its frames."""
    assert bench.facts.size == bench.source.stat().st_size
    assert bench.plan.fingerprint == bench.media.fingerprint
    assert len(bench.chunks) >= 2
    assert sum(chunk.frames for chunk in bench.chunks) == planning.total_frames(bench.plan, bench.scan)


def test_nonsense_is_refused_for_good(bench: Bench) -> None:
    """A file that is nothing known is a permanent error with a code."""
    with pytest.raises(MediaError) as refused:
        bench.media.inspect(bench.nonsense, cancel=Event())
    assert refused.value.code.startswith("media_")


def test_a_chunk_announces_whole_files_of_every_rung(bench: Bench, tmp_path: Path) -> None:
    """As many frames as planned, at the planned place, with progress that only rises."""
    chunk = bench.chunks[1]
    taker = encode(bench, chunk, tmp_path / "chunk")
    assert list(taker.segments) == [rung.name for rung in bench.plan.rungs]
    assert bench.plan.grid is not None
    for made in taker.segments.values():
        assert [segment.number for segment in made] == list(
            range(chunk.first_segment, chunk.first_segment + chunk.segments)
        )
        assert sum(segment.frames for segment in made) == chunk.frames
        assert made[0].start == chunk.first_frame * bench.plan.grid.frame_ticks
        assert all(segment.keyframes for segment in made)
    assert taker.progress == sorted(taker.progress)


def test_the_same_chunk_twice_is_the_same_bytes(bench: Bench, tmp_path: Path) -> None:
    """Processing compares a later attempt's digests with an earlier one's."""
    twice = [encode(bench, bench.chunks[0], tmp_path / name).digests for name in ("one", "two")]
    assert twice[0] == twice[1]


def test_all_chunks_share_their_initialisation_segments(bench: Bench, tmp_path: Path) -> None:
    """What the first chunk made is pinned for the others; another value is refused."""
    first = encode(bench, bench.chunks[0], tmp_path / "first")
    pinned = {name: init.sha256 for name, init in first.inits.items()}
    encode(bench, bench.chunks[1], tmp_path / "second", pinned=pinned)
    with pytest.raises(ToolFailed) as refused:
        encode(bench, bench.chunks[1], tmp_path / "third", pinned=dict.fromkeys(pinned, "0" * 64))
    assert refused.value.code == "init_mismatch"


def test_what_a_callback_raises_ends_the_encode(bench: Bench, tmp_path: Path) -> None:
    """A store that is full stops the encoder at the next segment."""
    calls = 0

    def full(_: EncodedSegment) -> None:
        nonlocal calls
        calls += 1
        raise StorageFull("No room.")

    with pytest.raises(StorageFull):
        encode(bench, bench.chunks[1], tmp_path / "chunk", on_segment=full)
    assert calls == 1


def test_an_encode_that_is_called_off_ends(bench: Bench, tmp_path: Path) -> None:
    """Whether it is called off before or in the middle, it raises ``Cancelled`` and nothing else."""
    cancel = Event()
    cancel.set()
    with pytest.raises(Cancelled):
        encode(bench, bench.chunks[1], tmp_path / "before", cancel=cancel)
    cancel = Event()
    with pytest.raises(Cancelled):
        encode(bench, bench.chunks[1], tmp_path / "middle", on_segment=lambda _: cancel.set(), cancel=cancel)


def test_sound_is_one_run_of_segments(bench: Bench, tmp_path: Path) -> None:
    """From number 1 and time 0 on without a gap; the same each time."""
    digests = []
    for name in ("one", "two"):
        taker = Taker()
        (tmp_path / name).mkdir()
        made = bench.media.encode_audio(
            bench.source,
            bench.plan,
            bench.plan.audio[0],
            tmp_path / name,
            on_init=taker.init,
            on_segment=taker.segment,
            on_progress=taker.progress.append,
            cancel=Event(),
        )
        segments = taker.segments[bench.plan.audio[0].name]
        assert [segment.number for segment in segments] == list(range(1, len(made.segments) + 1))
        assert segments[0].start == 0
        assert len(segments) >= 2
        digests.append(taker.digests)
    assert digests[0] == digests[1]


def test_poster_and_captions_are_files(bench: Bench, tmp_path: Path) -> None:
    """Each is in scratch, of the size and digest that are told."""
    made = [
        bench.media.poster(bench.source, bench.plan, tmp_path, cancel=Event()),
        bench.media.captions(bench.source, bench.plan, bench.plan.captions[0], tmp_path, cancel=Event()),
    ]
    assert [file.media_type for file in made] == ["image/jpeg", "text/vtt"]
    for file in made:
        data = file.path.read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size, file.sha256)


@pytest.mark.parametrize("clip", ["bigbuckbunny.mp4", "hdr10-av1.mp4", "sample_edit_list.mp4"])
def test_an_encode_occupies_no_more_than_its_estimate(
    tools: Tools, clips: Path, tmp_path: Path, clip: str
) -> None:
    """The estimate decides how many run at once; the kernel would end what exceeds it together."""
    peak, estimate = occupied(tools, clips / clip, tmp_path)
    assert peak <= estimate


def test_two_encodes_of_4k_fit_a_machine_of_four_gigabytes(
    tools: Tools, clips: Path, make: Make, tmp_path: Path
) -> None:
    """Encodes may occupy half of a machine's memory, and as many run at once as are estimated to fit."""
    colours = ("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc")
    size = ("-vf", "scale=3840:2160,format=yuv420p10le", "-c:v", "libx264", "-preset", "ultrafast")
    source = make("4k.mp4", "-i", clips / "bigbuckbunny.mp4", "-an", "-t", "1.2", *size, *colours)
    peak, estimate = occupied(tools, source, tmp_path)
    assert peak <= estimate
    assert 2 * estimate <= 4_000_000_000 // 2


def occupied(tools: Tools, source: Path, folder: Path) -> tuple[int, int]:
    """Bytes that the longest chunk's media process had resident at its peak, and what was expected."""
    media = Media(tools)
    facts = media.inspect(source, cancel=Event())
    plan = planning.plan(facts, replace(Settings(), fingerprint=tools.fingerprint))
    chunk = max(
        planning.chunks(plan, media.scan(source, plan, cancel=Event())), key=lambda chunk: chunk.frames
    )
    peaks = [0]

    def look(_: object) -> None:
        for pid in media_processes(os.getpid()):
            with suppress(OSError, StopIteration):
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                peaks.append(1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1]))

    media.encode_chunk(
        source,
        plan,
        chunk,
        folder,
        pinned={},
        on_init=look,
        on_segment=look,
        on_progress=look,
        cancel=Event(),
    )
    return max(peaks), slots.encode_memory(plan)
