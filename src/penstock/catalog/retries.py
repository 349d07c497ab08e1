"""How often and how soon a task is tried again. Apart from the claims, so that settings can be read without the database library."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon a task is tried again."""

    max_failures: int = 4
    """Transient failures after which a task is dead. More hides a fault for longer; fewer gives up on a passing one."""

    backoff_ms: int = 2_000
    """Wait after the first failure; it doubles with each: 2, 4, 8 s, so four attempts span about a quarter of a minute."""

    backoff_limit_ms: int = 300_000
    """The longest wait."""

    alone_after_losses: int = 3
    """Vanished workers after which the task runs alone: if it kills its process again, no innocent neighbour dies with it."""

    dead_after_losses: int = 5
    """Vanished workers after which the task is dead: it is taken to be what kills them."""

    def delay_ms(self, failures: int) -> int:
        """The wait before the attempt that follows the given number of failures."""
        return min(self.backoff_ms << min(failures - 1, 30), self.backoff_limit_ms)


DEFAULT_POLICY = RetryPolicy()
