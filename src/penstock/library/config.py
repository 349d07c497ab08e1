"""What can be set about the library."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LibraryConfig:
    """The addresses that the library hands out; each is a scheme and a host, without a path."""

    public_url: str | None = None
    """Where clients reach the instance: watch pages are addressed below it, and playback unless ``streaming_url`` says
    otherwise. None: wherever the request came to, which suits every client that is not behind a proxy of another name."""

    streaming_url: str | None = None
    """Where players reach ``/stream``: a CDN, or streaming nodes of their own. None: as ``public_url``. Players load from
    it across origins, which costs a connection and gains a cache near the viewer."""

    @property
    def playback_url(self) -> str | None:
        """Where playback addresses begin; None: wherever the request came to."""
        return self.streaming_url or self.public_url
