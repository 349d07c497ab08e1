"""Filter graphs: how decoded pictures and sound become what an encoder gets. Pure text from a plan.

The order of the picture's filters is the recipe: one clock, one constant-rate grid, the chunk cut out of it, and only
then the costly work, so that nothing is scaled that is not kept.
"""

from fractions import Fraction

from penstock.video.grid import CLOCK, Grid, nearest
from penstock.video.media import LONGEST_GAP, TRANSPORT_CLOCKS, Colour, Scan
from penstock.video.plan import Chunk, Plan, Poster, VideoTreatment
from penstock.video.tracks import AudioTrack


def rungs(plan: Plan, chunk: Chunk) -> str:
    """The whole graph of a chunk: one decode in, every rung out as ``[v0]``, ``[v1]``... in the plan's order."""
    video, grid = _pictures(plan)
    top = plan.rungs[-1]
    chains = [
        ",".join(
            [
                _input(video),
                *on_grid(video, grid, chunk, still=plan.still),
                *_upright(video, top.width, top.height),
            ]
        )
    ]
    # Each rung is scaled from the next larger one: a third to a half of the CPU of scaling each from the source.
    for position in range(len(plan.rungs) - 1, 0, -1):
        below = plan.rungs[position - 1]
        chains[-1] += f",split=2[v{position}][s{position}]"
        chains.append(f"[s{position}]scale={below.width}:{below.height}:flags=bicubic")
    chains[-1] += "[v0]"
    return ";".join(chains)


def on_grid(video: VideoTreatment, grid: Grid, chunk: Chunk, *, still: bool) -> list[str]:
    """From the source's timestamps to exactly the chunk's frames on the video's grid."""
    rate = _ratio(grid.rate)
    origin = nearest(grid.video_origin * CLOCK)
    filters = [
        f"settb=1/{CLOCK}",  # a clock of our own: an origin off the source's ticks is still subtracted exactly
        f"setpts=PTS-{origin}" if origin >= 0 else f"setpts=PTS+{-origin}",
    ]
    if video.deinterlace is not Scan.PROGRESSIVE:
        parity = "tff" if video.deinterlace is Scan.TOP_FIRST else "bff"
        # Before the cut: it looks at neighbours.
        filters.append(f"bwdif=mode=send_frame:parity={parity}:deint=all")
    filters += [
        # Rounds every time to the grid by itself, the same in every chunk: fps alone rounds relative to start_time.
        f"settb={_ratio(1 / grid.rate)}",
        # start_time is the chunk's own, never 0, which would make every frame since the beginning to throw it away.
        f"fps=fps={rate}:start_time={float(chunk.first_frame / grid.rate)!r}",
    ]
    if chunk.last:
        # The end by packet times and the end by decoded pictures may differ by a few frames (a broken last packet):
        # the last picture is held for a second at most; more is missing means that something is wrong.
        hold = chunk.frames if still else nearest(grid.rate)
        filters.append(f"tpad=stop_mode=clone:stop={hold}")
    # Ends the run.
    filters.append(f"trim=start_pts={chunk.first_frame}:end_pts={chunk.first_frame + chunk.frames}")
    return filters


def poster(plan: Plan, picture: Poster) -> str:
    """One upright picture as ``[v0]``, in full range as JPEG has it."""
    video, _ = _pictures(plan)
    chain = [
        _input(video),
        *_upright(video, picture.width, picture.height),
        "scale=out_range=pc",
        "format=yuvj420p",
    ]
    return ",".join(chain) + "[v0]"


def look(stream: int) -> str:
    """A graph that changes nothing and reports on its standard error what the first pictures are."""
    # The side data of some cameras fills pages per picture; checksums cost time: neither is wanted. showinfo comes first,
    # to tell what the stream says of its lines: idet writes what it believes of them onto the pictures.
    return f"[0:{stream}]sidedata=mode=delete,showinfo=checksum=0,idet[v0]"


def sound(plan: Plan, track: AudioTrack, gain: float | None) -> str:
    """One track as ``[a0]``: from the video's zero without a hole, in the wanted layout, ``gain`` dB louder."""
    chain = [*_from_zero(plan, track)]
    if gain is not None:
        # The limiter keeps a raised signal below -1.5 dBFS (EBU R128 asks for -1 dBTP; AAC overshoots a little).
        chain += [f"volume={gain:.2f}dB", "alimiter=limit=0.841:level=false"]
    layout = "stereo" if track.channels == 2 else "5.1"
    chain.append(f"aformat=sample_fmts=fltp:sample_rates={track.sample_rate}:channel_layouts={layout}")
    return f"[0:{track.stream}]" + ",".join(chain) + "[a0]"


def loudness(plan: Plan, track: AudioTrack) -> str:
    """A graph that measures a track's integrated loudness (EBU R128) and reports it on its standard error."""
    layout = "stereo" if track.channels == 2 else "5.1"
    chain = [
        *_from_zero(plan, track),
        f"aformat=channel_layouts={layout}",
        "ebur128=framelog=quiet:peak=sample",
    ]
    return f"[0:{track.stream}]" + ",".join(chain) + "[a0]"


def _from_zero(plan: Plan, track: AudioTrack) -> list[str]:
    origin = nearest(plan.origin * CLOCK)
    # As the scan does it with the pictures: what lies hours behind all before it is another clock's.
    gap = (
        [f"aselect='if(isnan(prev_selected_t),1,lte(t-prev_selected_t,{LONGEST_GAP}))'"]
        if plan.container in TRANSPORT_CLOCKS
        else []
    )
    return [
        f"asettb=1/{CLOCK}",
        *gap,
        f"asetpts=PTS-{origin}" if origin >= 0 else f"asetpts=PTS+{-origin}",
        # Fills what is missing with silence, from the very beginning on; holes and overlaps above 30 ms too, which is
        # less than a picture. Below that, timestamps of some containers jitter and nothing is missing.
        f"aresample={track.sample_rate}:async=1:min_hard_comp=0.03:first_pts=0",
    ]


def _pictures(plan: Plan) -> tuple[VideoTreatment, Grid]:
    if plan.video is None or plan.grid is None:
        raise ValueError("The plan has no pictures.")
    return plan.video, plan.grid


def _input(video: VideoTreatment) -> str:
    return f"[0:{video.stream}]{_tagged(video.colour_in)}"


def _upright(video: VideoTreatment, width: int, height: int) -> list[str]:
    """To the size, colours and orientation that a viewer sees; 8 bit, 4:2:0, square pixels."""
    lying = video.rotation in {90, 270}
    # Scaled as it lies, so that fewer pixels are turned.
    size = f"{height}:{width}" if lying else f"{width}:{height}"
    before, after = video.colour_in, video.colour_out
    if video.tonemap:
        filters = [
            f"scale={size}:flags=bicubic",
            # Light, not signal: 100 nits is the white of the standard range; hable keeps highlights from clipping.
            "zscale=transfer=linear:npl=100:primaries=bt709",
            "format=gbrpf32le",
            "tonemap=tonemap=hable:desat=0",
            "zscale=transfer=bt709:matrix=bt709:range=tv:dither=none",
        ]
    elif before.primaries != after.primaries:
        filters = [
            f"scale={size}:flags=bicubic",
            "zscale=transfer=linear",
            "format=gbrpf32le",
            "zscale=primaries=bt709:transfer=bt709:matrix=bt709:range=tv:dither=none",
        ]
    else:
        matrix = f":out_color_matrix={after.matrix}" if before.matrix != after.matrix else ""
        filters = [f"scale={size}:flags=bicubic:out_range=tv{matrix}"]
    filters += ["hflip"] if video.mirrored else []
    filters += {0: [], 90: ["transpose=clock"], 180: ["hflip", "vflip"], 270: ["transpose=cclock"]}[
        video.rotation
    ]
    # What hangs on the pictures has served: a rotation that went on to the encoder would be applied again by players,
    # and so would the mastering levels of a range that is no more.
    return [*filters, "format=yuv420p", "setsar=1", "sidedata=mode=delete", _tagged(after)]


def _tagged(colour: Colour) -> str:
    """Say what the numbers mean: later filters convert by it, the encoder writes it into every rung alike."""
    return (
        f"setparams=range={'pc' if colour.full_range else 'tv'}:colorspace={colour.matrix}"
        f":color_primaries={colour.primaries}:color_trc={colour.transfer}"
    )


def _ratio(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"
