"""Who asks: an account through one of its API keys, the holder of a signed watch link, or anyone.

A principal is what a credential was worth when it was checked. Nothing here knows how it was presented or stored.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class Role(StrEnum):
    """What an account is."""

    USER = "user"
    ADMIN = "admin"


class Scope(StrEnum):
    """What a credential may be used for. A key carries the least it needs; an account's rights never exceed its role."""

    UPLOAD = "upload"  # open uploads and continue one's own
    READ = "read"  # list, look at and watch
    MANAGE = "manage"  # change, retry and delete one's own videos
    ADMIN = "admin"  # use the powers of an administrator's role; without it an administrator's key is a user's key


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of one request. An ``account_id`` of None is anonymous and has neither role nor scopes that count."""

    account_id: str | None
    role: Role = Role.USER
    scopes: frozenset[Scope] = frozenset()
    key_id: str | None = None
    watch_grant: str | None = (
        None  # the one video that a signed watch link, checked already, lets its holder watch
    )

    @property
    def is_anonymous(self) -> bool:
        """Whether no credential of an account was presented."""
        return self.account_id is None

    @property
    def is_administrator(self) -> bool:
        """Whether the powers over other accounts' videos apply: the role *and* a credential that carries the scope."""
        return self.account_id is not None and self.role is Role.ADMIN and Scope.ADMIN in self.scopes

    def granted_watch(self, video_id: str) -> "Principal":
        """The same caller, who also holds a valid watch link to this video."""
        return replace(self, watch_grant=video_id)


ANONYMOUS = Principal(account_id=None)
