"""What can be set about every HTTP service."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WebConfig:
    """Who answers, and how much it is willing to hear."""

    service: str
    """Name of the service: ``upload``, ``library``, ``streaming``; in ``/status`` and in metrics."""

    version: str
    """Of the program, as ``/status`` and the OpenAPI document state it."""

    node: str
    """Name of this machine as ``/status`` shows it. Never its address."""

    json_body_limit: int = 262_144
    """Most bytes of a request body that is not streamed; it is held in memory. The largest legal one is the completion of
    an upload that lists every part: ``PENSTOCK_UPLOAD_MOST_PARTS`` times 200 bytes must fit, and the start is refused where it does
    not. More lets strangers occupy more memory."""

    json_body_s: float = 30.0
    """Seconds within which such a body must be there whole, or the request is given up with ``body_stalled`` (408). Nobody
    needs as long for so little; who sends a byte now and then would keep a connection for ever."""
