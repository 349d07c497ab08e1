"""What can be set about the library."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LibraryConfig:
    """The addresses that the library hands out; each is a scheme and a host, without a path."""

    public_url: str
    """Where clients reach the instance: watch pages are addressed below it, and playback unless ``streaming_url`` says
    otherwise."""

    streaming_url: str | None = None
    """Where players reach ``/stream``: a CDN, or streaming nodes of their own. None: ``public_url``. Players load from
    it across origins, which costs a connection and gains a cache near the viewer."""

    @property
    def playback_url(self) -> str:
        """Where playback addresses begin."""
        return (self.streaming_url or self.public_url).rstrip("/")

    @property
    def watch_url(self) -> str:
        """Where addresses of pages begin."""
        return self.public_url.rstrip("/")
