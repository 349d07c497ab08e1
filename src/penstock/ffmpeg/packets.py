"""Reading ffprobe's list of packets as it comes: ten hours of film are more lines than anyone wants in memory."""

from array import array
from fractions import Fraction

from penstock.ffmpeg.refusals import Refusal, refused
from penstock.video.media import LONGEST_GAP, TRANSPORT_CLOCKS
from penstock.video.plan import Plan, ScanResult

# Seconds by which a header may claim more than there is: the last frame's, or sound's, length.
_TOLERANCE = Fraction(1)
_TRANSPORT_TICKS = 90_000  # a second of a transport stream's clock (ISO/IEC 13818-1)


class PacketReader:
    """Feed it the CSV of ``commands.scan``: a line per packet, then one per stream with its ticks."""

    def __init__(self, plan: Plan, max_packets: int) -> None:
        self._plan = plan
        self._max_packets = max_packets
        self._chosen = plan.scan_stream
        self._rest = b""
        self._packets = 0
        self._frames = 0
        self._keyframes = array("q")  # eight bytes each: an intra-only source has one per frame
        self._ends: dict[int, int] = {}
        self._time_bases: dict[int, Fraction] = {}
        # Packets that lie further behind all before them are another clock's, and cannot be shown; None: there is no such thing.
        self._longest_gap = LONGEST_GAP * _TRANSPORT_TICKS if plan.container in TRANSPORT_CLOCKS else None
        self._beyond = False  # whether there were any
        self._last = 0  # presentation time of the last frame of the chosen stream
        self._decoded: dict[int, int] = {}  # the latest decode time of each stream
        self._fell_back: dict[int, int] = {}  # by how many ticks decode times fell back at most
        # Of the chosen stream, in ticks: a packet may not say how long it lasts.
        self._previous, self._gap = 0, 1

    def feed(self, data: bytes) -> None:
        """Take in some bytes. Raises ``MediaError`` where there are more packets than accepted."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line.split(b","))

    def result(self) -> ScanResult | None:
        """What was found, None if the chosen stream has no packet."""
        self._line(self._rest.split(b","))
        self._rest = b""
        if self._chosen not in self._ends or self._chosen not in self._time_bases:
            return None
        return ScanResult(
            time_base=self._time_bases[self._chosen],
            keyframes=tuple(sorted(set(self._keyframes))),
            frames=self._frames,
            last=self._last,
            end=self._ends[self._chosen],
            truncated=self._is_short(),
        )

    def _line(self, fields: list[bytes]) -> None:
        # A stream's line ends with its ticks, ``0,1/90000``; further fields belong to its program or are empty.
        if len(fields) > 1 and b"/" in fields[1] and fields[1] != b"N/A":
            self._time_bases[int(fields[0])] = Fraction(fields[1].decode())
        elif len(fields) >= 5:
            self._packet(int(fields[0]), *fields[1:5])

    def _packet(self, stream: int, pts: bytes, dts: bytes, duration: bytes, flags: bytes) -> None:
        self._packets += 1
        if self._packets > self._max_packets:
            raise refused(Refusal.TOO_MANY_PACKETS, f"At most {self._max_packets} are read.")
        if dts != b"N/A":
            self._watch(stream, int(dts))
        shown = pts if pts != b"N/A" else dts  # some containers (AVI) say when to decode and not when to show
        if shown == b"N/A" or b"D" in flags:  # D: before an edit list's beginning, never shown
            return
        start = int(shown)
        if self._longest_gap is not None and start - self._ends.get(stream, start) > self._longest_gap:
            self._beyond = True
            return
        length = int(duration) if duration != b"N/A" else 0
        if stream == self._chosen:
            self._frames += 1
            self._last = start if self._frames == 1 else max(self._last, start)
            if b"K" in flags:
                self._keyframes.append(start)
        self._ends[stream] = max(self._ends.get(stream, start), start + length)

    def _watch(self, stream: int, dts: int) -> None:
        before = self._decoded.setdefault(stream, dts)
        if dts >= before:
            self._decoded[stream] = dts
        elif before - dts > self._fell_back.get(stream, 0):
            self._fell_back[stream] = before - dts

    def _is_short(self) -> bool:
        plan = self._plan
        if self._beyond:
            return True
        # Where a clock begins again (recordings put one behind the other), what follows lies under what was there before.
        if self._fell_back.get(self._chosen, 0) * self._time_bases[self._chosen] > _TOLERANCE:
            return True
        if plan.scan_end is not None:
            return self._ends[self._chosen] * self._time_bases[self._chosen] + _TOLERANCE < plan.scan_end
        if plan.duration is None:
            return False
        # The header's one length is that of the longest stream.
        ends = [
            end * self._time_bases[stream] for stream, end in self._ends.items() if stream in self._time_bases
        ]
        return max(ends) + _TOLERANCE < plan.origin + plan.duration
