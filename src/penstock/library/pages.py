"""The pages: files of this package, served as they are. They know nothing that the HTTP interface does not tell them."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request
from starlette.responses import Response

from penstock.library.config import LibraryConfig
from penstock.web_api.problems import RouteNotFound

_MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
_VENDORED = "vendor/"  # these names carry a version, so what they name never changes


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    media_type: str
    etag: str
    cache_control: str


def routes(config: LibraryConfig) -> APIRouter:
    """``/``, ``/watch/{id}`` and the files that they load."""
    router = APIRouter(include_in_schema=False)
    served = dict(_read(files("penstock.library") / "static", ""))
    policy = {"content-security-policy": _policy(config)}

    @router.api_route("/", methods=["GET", "HEAD"])
    def index(request: Request) -> Response:
        return _answer(request, served["index.html"], policy)

    @router.api_route("/watch/{video_id}", methods=["GET", "HEAD"])
    def watch(request: Request, video_id: str) -> Response:  # noqa: ARG001 # the page itself asks about the video
        # The address may carry a signature, so not even the same site is told where a viewer came from.
        return _answer(request, served["watch.html"], policy | {"referrer-policy": "no-referrer"})

    @router.api_route("/static/{name:path}", methods=["GET", "HEAD"])
    def static(request: Request, name: str) -> Response:
        if name not in served or name.endswith(".html"):
            raise RouteNotFound("There is no such file.")
        return _answer(request, served[name], {})

    return router


def _policy(config: LibraryConfig) -> str:
    """What a page may load: its own files, and media from where it is streamed."""
    media = "'self'" if config.playback_url is None else f"'self' {config.playback_url.rstrip('/')}"
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            f"img-src {media}",
            f"media-src {media} blob:",  # the player feeds the element through an object URL
            f"connect-src {media}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'self'",
        )
    )


def _read(folder: Traversable, prefix: str) -> list[tuple[str, _File]]:
    found: list[tuple[str, _File]] = []
    for item in folder.iterdir():
        name = f"{prefix}{item.name}"
        media_type = _MEDIA_TYPES.get(item.name.rpartition(".")[2])
        if item.is_dir():
            found += _read(item, f"{name}/")
        elif media_type is not None:
            content = item.read_bytes()
            cache = "public, max-age=31536000, immutable" if name.startswith(_VENDORED) else "no-cache"
            found.append(
                (name, _File(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"', cache))
            )
    return found


def _answer(request: Request, file: _File, headers: dict[str, str]) -> Response:
    complete = {"etag": file.etag, "cache-control": file.cache_control, **headers}
    if file.etag in {tag.strip() for tag in request.headers.get("if-none-match", "").split(",")}:
        return Response(status_code=304, headers=complete)
    body = b"" if request.method == "HEAD" else file.content
    complete["content-length"] = str(len(file.content))
    return Response(body, media_type=file.media_type, headers=complete)
