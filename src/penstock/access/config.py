"""What can be set about access."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class AccessConfig:
    """Settings of keys and tokens; durations are seconds."""

    keyring_path: Path
    """The file of signing keys, mode 0600, made at the first start. Every process that signs or verifies reads the same
    one; on several machines an operator distributes it (a mounted secret)."""

    activation_delay: float = 300
    """A new key signs only this long after it was added, so that every verifier has read it by then. It must exceed the
    time that the file takes to reach the slowest machine; longer only makes a rotation slower."""

    token_life_floor: float = 3600
    """The least life of a playback token. Short enough that a leaked address is worth little tomorrow, long enough for
    a viewer who pauses."""

    token_life_ceiling: float = 24 * 3600
    """The longest life of a playback token, whatever the video's length. Tombstones of deleted videos and retired
    signing keys are kept this long."""

    watch_link_life: float = 7 * 24 * 3600
    """How long a signed watch link to a private video opens its page. It is a person's link, meant to be sent."""

    def playback_token_life(self, duration: float) -> float:
        """Seconds that a token for a video of ``duration`` seconds lives: twice the video and one hour, within bounds."""
        return min(self.token_life_ceiling, max(self.token_life_floor, 2 * duration + 3600))
