"""Who may come upon a video. Every rule that follows from it is in ``access.authorize``."""

from enum import StrEnum


class Visibility(StrEnum):
    """Set at upload, changed by the owner at any time; playback tokens already given out run to their expiry."""

    PUBLIC = "public"  # listed, and watched by anyone
    UNLISTED = "unlisted"  # watched by anyone who has its address
    PRIVATE = "private"  # the owner, administrators and holders of a signed watch link; for others it does not exist
