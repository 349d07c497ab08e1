"""What inspection found and the plan decided of a video on a server, in lines for people: the middle of ``show``."""

from typing import Any

from rich.markup import escape

from penstock.cli.terminal import bitrate, duration, facts, out, size, table

Pairs = list[tuple[str, str]]


def show_found(found: dict[str, Any]) -> None:
    """What is in the source."""
    out.print("\n[bold]FOUND[/]")
    cut = ", cut short" if found["truncated"] else ""
    pairs: Pairs = [("container", f"{found['container']}, {size(found['size'])}{cut}")]
    pairs.append(("length", f"{duration(found['duration'])}, as its header says"))
    pairs += [("picture", _picture(picture)) for picture in found["video"]]
    pairs += [("sound", _sound(sound)) for sound in found["audio"]]
    for item in found["subtitles"]:
        pairs.append(("subtitles", item["codec"] + _language(item) + ("" if item["text"] else " (pictures)")))
    pairs += [
        ("left out", f"stream {item['stream']}: {item['kind']}, {item['reason']}")
        for item in found["left_out"]
    ]
    facts(pairs, indent="  ")


def show_decided(decided: dict[str, Any]) -> None:
    """What becomes of it."""
    out.print("\n[bold]DECIDED[/]")
    pairs: Pairs = []
    if (grid := decided["grid"]) is not None:
        frames = f", {grid['frames']} frames" if grid["frames"] is not None else ""
        pairs.append(
            ("grid", f"{_rate(grid['frame_rate'])} frames/s{frames}, keyframe every {grid['keyframe_every']}")
        )
        chunks = f", {grid['chunks']} chunks" if grid["chunks"] is not None else ""
        pairs.append(("segments", f"{_rate(grid['segment_seconds'])} s each{chunks}"))
    if (treatment := decided["treatment"]) is not None:
        pairs.append(("treatment", _treatment(treatment)))
    pairs.append(("encoder", f"H.264 {decided['preset']}, plan {decided['digest'][:12]}"))
    pairs += [("captions", escape(item["label"]) + _language(item)) for item in decided["captions"]]
    facts(pairs, indent="  ")
    ladder = table("  RENDITION", "SIZE", "QUALITY", "AT MOST")
    for rung in decided["rungs"]:
        ladder.add_row(
            f"  {rung['name']}", f"{rung['width']}x{rung['height']}", f"CRF {rung['crf']}", bitrate(rung["max_bitrate"])
        )  # fmt: skip
    for track in decided["audio"]:
        quality = "AAC-LC, -16 LUFS" if track["loudness"] else "AAC-LC"
        ladder.add_row(
            f"  {track['name']}", f"{track['channels']} channels{_language(track)}", quality, bitrate(track["bitrate"])
        )  # fmt: skip
    out.print()
    out.print(ladder)


def _picture(picture: dict[str, Any]) -> str:
    rate = "variable rate" if picture["frame_rate"] is None else f"{_rate(picture['frame_rate'])} frames/s"
    words = [
        f"{picture['codec']} {picture['width']}x{picture['height']}",
        rate,
        f"{picture['bit_depth']} bit",
    ]
    if picture["rotation"]:
        words.append(f"turned {picture['rotation']} degrees")
    if picture["hdr"]:
        words.append(f"HDR ({picture['hdr']})")
    if picture["scan"] != "progressive":
        words.append(f"interlaced, {picture['scan'].replace('_', ' ')}")
    return ", ".join(words)


def _sound(sound: dict[str, Any]) -> str:
    title = f", {escape(sound['title'])}" if sound["title"] else ""
    return (
        f"{sound['codec']}, {sound['channels']} channels, {sound['sample_rate']} Hz{_language(sound)}{title}"
    )


def _treatment(treatment: dict[str, Any]) -> str:
    words = []
    if treatment["rotate"]:
        words.append(f"turned by {treatment['rotate']} degrees")
    if treatment["deinterlace"]:
        words.append("deinterlaced")
    if treatment["tonemap"]:
        words.append("mapped from HDR to BT.709")
    return ", ".join(words) or "none needed"


def _language(item: dict[str, Any]) -> str:
    return f", {escape(item['language'])}" if item["language"] else ""


def _rate(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".")
