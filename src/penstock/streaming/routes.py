"""What a playback URL asks for, and the same routes as the contract document describes them.

``/stream/{token}/{video}/{generation}/{name}`` or ``.../{track}/{name}``. Nothing of a path ever becomes an object key or
a file name: the parts are looked up in the timeline, and what is not there is not there.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

from penstock.manifests import dash, hls, names

PREFIX = "/stream/"

_SEGMENT = re.compile(r"([1-9][0-9]{0,8})" + re.escape(names.SEGMENT_SUFFIX))
_LONGEST_PATH = 2048  # bytes; a token of the longest kind makes a path of less than 900
# Bytes of what is remembered, which strangers choose as well: names that are ours are shorter.
_LONGEST_FOLDER, _LONGEST_NAME = 900, 64


class Target(NamedTuple):
    """What a URL asks for. ``track`` is None for what belongs to the whole generation."""

    token: str
    video_id: str
    generation_id: str
    track: str | None
    name: str
    kind: str  # ``manifest``, ``segment``, ``init``, ``file``
    number: int | None = None  # of the media segment; None where it is something else


def parse(raw_path: bytes) -> Target | None:
    """The target of a path as it came over the wire, or None where it has not the form of one.

    The path is split before it is decoded, so that an encoded slash stays inside its part and matches nothing.
    """
    if len(raw_path) > _LONGEST_PATH or not raw_path.isascii():
        return None
    folder, _, last = raw_path.rpartition(b"/")
    above = _folder(folder) if len(folder) <= _LONGEST_FOLDER else _folder.__wrapped__(folder)
    if above is None:
        return None
    of_track = above[3] is not None
    return Target(
        *above,
        *(_last(last, of_track) if len(last) <= _LONGEST_NAME else _last.__wrapped__(last, of_track)),
    )


# A viewing asks for one thing after another in the same few places, and all viewings for things of the same names.
@lru_cache(maxsize=4096)
def _folder(path: bytes) -> tuple[str, str, str, str | None] | None:
    text = path.decode("ascii")
    parts = [unquote(part) for part in text.removeprefix(PREFIX).split("/")]
    if not text.startswith(PREFIX) or len(parts) not in (3, 4):
        return None
    return parts[0], parts[1], parts[2], parts[3] if len(parts) == 4 else None


@lru_cache(maxsize=4096)
def _last(part: bytes, of_track: bool) -> tuple[str, str, int | None]:  # noqa: FBT001 - a key of the cache
    name = unquote(part.decode("ascii"))
    if names.is_manifest(name):
        return name, "manifest", None
    if not of_track:
        return name, "file", None
    if name == names.INIT_SEGMENT:
        return name, "init", None
    segment = _SEGMENT.fullmatch(name)
    return name, "segment", int(segment[1]) if segment else None


@dataclass(frozen=True, slots=True)
class _Route:
    path: str
    operation: str
    summary: str
    description: str
    media_types: tuple[str, ...]
    ranges: bool = True


_ROUTES = (
    _Route(
        names.MULTIVARIANT,
        "get_hls_multivariant",
        "HLS multivariant playlist",
        "All rungs and audio tracks that the token permits. It does not change while the video grows.",
        (hls.MEDIA_TYPE,),
        ranges=False,
    ),
    _Route(
        names.MPD,
        "get_dash_manifest",
        "DASH manifest",
        "Dynamic while the video grows, static once it is complete; both start at 0.",
        (dash.MEDIA_TYPE,),
        ranges=False,
    ),
    _Route(
        f"{{track}}/{names.MEDIA_PLAYLIST}",
        "get_hls_media_playlist",
        "HLS media playlist of a rung or audio track",
        "Type EVENT while the video grows, VOD with an end once it is complete.",
        (hls.MEDIA_TYPE,),
        ranges=False,
    ),
    _Route(
        f"{{track}}/{names.IFRAME_PLAYLIST}",
        "get_hls_iframe_playlist",
        "HLS playlist of a rung's I-frames",
        "Byte ranges of the rung's segments, for fast forward and scrubbing.",
        (hls.MEDIA_TYPE,),
        ranges=False,
    ),
    _Route(
        f"{{track}}/{names.INIT_SEGMENT}",
        "get_init_segment",
        "Initialisation segment of a rung or audio track",
        "Immutable.",
        ("video/mp4", "audio/mp4"),
    ),
    _Route(
        f"{{track}}/{{number}}{names.SEGMENT_SUFFIX}",
        "get_media_segment",
        "Media segment",
        "Immutable. Segments are numbered from 1; the same number is the same time in every rung.",
        ("video/mp4", "audio/mp4"),
    ),
    _Route(
        "{file}",
        "get_file",
        "Poster, captions",
        "A file of the generation by the name that the manifests and the library give: `poster.jpg`, "
        "`captions-0.vtt` for the first captions track. `captions-0.m3u8` is the HLS playlist of that file.",
        ("image/jpeg", "text/vtt", hls.MEDIA_TYPE),
    ),
)
_PARAMETERS = {
    "token": "The playback token, as the library gives it within a playback URL.",
    "video_id": "The video that the token names.",
    "generation_id": "The generation that the token names.",
    "track": "A rung (`240p`, `720p`) or an audio track (`audio-0`), as the manifests name it.",
    "number": "Number of the segment, from 1.",
    "file": "Name of the file.",
}
_REFUSALS = {
    "403": "`token_invalid`, `token_expired`, `token_foreign`, `token_origin_refused`, `token_rung_refused`.",
    "404": "`video_deleted`, or `not_published`: not there in the newest timeline, which was read again.",
    "409": "`video_not_ready`, with `Retry-After`; `video_failed`.",
    "503": "`storage_unavailable`, with `Retry-After`.",
}


def openapi_paths() -> dict[str, Any]:
    """The OpenAPI path items of all playback routes."""
    root = f"{PREFIX}{{token}}/{{video_id}}/{{generation_id}}/"
    return {root + route.path: {"get": _operation(route, root + route.path)} for route in _ROUTES}


def _operation(route: _Route, path: str) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    body = {
        media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in route.media_types
    }
    headers = {
        "ETag": {"description": "Strong entity tag.", "schema": {"type": "string"}},
        "Penstock-Node": {"description": "Which node answered.", "schema": {"type": "string"}},
    }
    responses: dict[str, Any] = {
        "200": {"description": "The whole of it.", "headers": headers, "content": body},
        "304": {"description": "The copy named by `If-None-Match` is current."},
    }
    if route.ranges:
        responses["206"] = {"description": "The one range asked for.", "headers": headers, "content": body}
        responses["416"] = {"description": "The range begins beyond the end.", "content": problem}
    responses |= {status: {"description": text, "content": problem} for status, text in _REFUSALS.items()}
    return {
        "tags": ["playback"],
        "summary": route.summary,
        "description": f"{route.description} `HEAD` answers alike, without the body.",
        "operationId": route.operation,
        "parameters": [
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": text,
                "schema": {"type": "integer", "minimum": 1} if name == "number" else {"type": "string"},
            }
            for name, text in _PARAMETERS.items()
            if f"{{{name}}}" in path
        ],
        "responses": dict(sorted(responses.items())),
    }
