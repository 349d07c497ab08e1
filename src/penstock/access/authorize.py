"""The one function that decides: may this caller do this to this video?

Every endpoint asks it, and asks nothing else. It takes what a lookup gave, None included, so that a video that does not
exist and a private one of somebody else are refused by the same line and cannot be told apart. It knows no records,
no HTTP, and not whether a video is ready: a video that may be watched may still have nothing to show.
"""

from enum import StrEnum
from typing import Protocol, TypeVar, overload

from penstock.access.principals import Principal, Scope
from penstock.video.errors import Forbidden, NotFound, Unauthenticated
from penstock.video.lifecycle import VideoState
from penstock.video.visibility import Visibility


class Protected(Protocol):
    """What the decision needs to know of a video; the catalog's record has it."""

    @property
    def id(self) -> str:
        """The video's id."""
        ...

    @property
    def owner_id(self) -> str:
        """The account that uploaded it; never empty, so that no anonymous caller can equal it."""
        ...

    @property
    def visibility(self) -> Visibility:
        """As its owner set it."""
        ...

    @property
    def state(self) -> VideoState:
        """Where it stands; only ``deleted`` matters here."""
        ...


class Action(StrEnum):
    """What can be asked for. The first group is about no video in particular."""

    UPLOAD = "upload"  # open a new upload
    LIST = "list"  # see which videos there are, of those that the caller may read
    ADMINISTER = "administer"  # tasks, nodes, dead letters, accounts

    READ = "read"  # title, state, duration, renditions
    WATCH = "watch"  # be given playback URLs
    READ_PRIVATE = "read_private"  # what is the owner's: file name, digest, failure, history
    CONTINUE_UPLOAD = "continue_upload"  # send parts of, complete or cancel an open upload
    UPDATE = "update"  # title, visibility
    DELETE = "delete"
    RETRY = "retry"


_WITHOUT_VIDEO = frozenset({Action.UPLOAD, Action.LIST, Action.ADMINISTER})
# Without any account, where visibility or a watch link permits it.
_OPEN_TO_ANYONE = frozenset({Action.LIST, Action.READ, Action.WATCH})
# A deleted record keeps answering its owner, says what it was a duplicate of, and is deleted again without complaint. Its
# upload answers too: completed again, that of a duplicate names the video that stands for it; any other says how it ended.
_OF_A_DELETED = frozenset({Action.READ, Action.READ_PRIVATE, Action.DELETE, Action.CONTINUE_UPLOAD})
_SCOPES = {
    Action.UPLOAD: Scope.UPLOAD,
    Action.CONTINUE_UPLOAD: Scope.UPLOAD,
    Action.LIST: Scope.READ,
    Action.READ: Scope.READ,
    Action.WATCH: Scope.READ,
    Action.READ_PRIVATE: Scope.READ,
    Action.UPDATE: Scope.MANAGE,
    Action.DELETE: Scope.MANAGE,
    Action.RETRY: Scope.MANAGE,
    Action.ADMINISTER: Scope.ADMIN,
}

V = TypeVar("V", bound=Protected)


@overload
def authorize(principal: Principal, action: Action) -> None: ...
@overload
def authorize(principal: Principal, action: Action, video: V | None) -> V: ...
def authorize(principal: Principal, action: Action, video: V | None = None) -> V | None:
    """Returns the video where ``principal`` may do ``action`` to it; actions about no video return None.

    Raises :class:`Unauthenticated` where any account would have to be known first, :class:`Forbidden` where the caller
    may know of the thing but not do this, and :class:`NotFound` where it may not know, or there is nothing.
    """
    _check_credential(principal, action)
    if action in _WITHOUT_VIDEO:
        if action is Action.ADMINISTER and not principal.is_administrator:
            raise Forbidden("This needs an administrator's key.", code="administrator_required")
        return None
    if video is None:
        raise _not_found()
    _check_video(principal, action, video)
    return video


def may(principal: Principal, action: Action, video: Protected) -> bool:
    """Whether :func:`authorize` would permit it: for answers that show more to some callers than to others."""
    try:
        authorize(principal, action, video)
    except (Unauthenticated, Forbidden, NotFound):
        return False
    return True


def _check_credential(principal: Principal, action: Action) -> None:
    """Refuses what no video could change, before any is looked at."""
    if principal.is_anonymous:
        if action not in _OPEN_TO_ANYONE:
            raise Unauthenticated("This needs an API key: send 'Authorization: Bearer pst_...'.")
    elif _SCOPES[action] not in principal.scopes:
        raise Forbidden(f"This key lacks the scope '{_SCOPES[action]}'.", code="scope_missing")


def _check_video(principal: Principal, action: Action, video: Protected) -> None:
    its_own = principal.is_administrator or principal.account_id == video.owner_id
    if video.state is VideoState.DELETED:
        if not its_own:
            raise _not_found()
        if action not in _OF_A_DELETED:
            raise NotFound("This video was deleted.", code="video_deleted")
        return
    if its_own:
        return
    if video.visibility is Visibility.PRIVATE and principal.watch_grant != video.id:
        raise _not_found()
    if action not in _OPEN_TO_ANYONE:
        raise Forbidden("Only the owner of this video or an administrator may do this.", code="not_owner")


def _not_found() -> NotFound:
    return NotFound("No such video.", code="video_not_found")
