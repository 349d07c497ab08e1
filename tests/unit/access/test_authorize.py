from dataclasses import dataclass
from itertools import product

import pytest

from penstock.access.authorize import Action, authorize, may
from penstock.access.principals import ALL_SCOPES, ANONYMOUS, Principal, Role, Scope
from penstock.video.errors import Forbidden, NotFound, PenstockError, Unauthenticated
from penstock.video.lifecycle import VideoState
from penstock.video.visibility import Visibility


@dataclass(frozen=True)
class Video:
    """As much of a record as the decision needs."""

    id: str
    owner_id: str
    visibility: Visibility
    state: VideoState


CALLERS = {
    "anonymous": ANONYMOUS,
    "link holder": ANONYMOUS.granted_watch("the-video"),
    "holder of another link": ANONYMOUS.granted_watch("another-video"),
    "owner": Principal("owner", Role.USER, ALL_SCOPES),
    "stranger": Principal("stranger", Role.USER, ALL_SCOPES),
    "stranger with a link": Principal("stranger", Role.USER, ALL_SCOPES).granted_watch("the-video"),
    "administrator": Principal("admin", Role.ADMIN, ALL_SCOPES),
    "administrator with a plain key": Principal("admin", Role.ADMIN, ALL_SCOPES - {Scope.ADMIN}),
    "user with the admin scope": Principal("stranger", Role.USER, ALL_SCOPES),
}
ABOUT_A_VIDEO = [a for a in Action if a not in {Action.UPLOAD, Action.LIST, Action.ADMINISTER}]
FOR_ANYONE = {Action.READ, Action.WATCH}
AFTER_DELETION = {Action.READ, Action.READ_PRIVATE, Action.DELETE, Action.CONTINUE_UPLOAD}


def outcome(principal: Principal, action: Action, video: Video | None) -> str:
    """What came of it: ``permitted``, or the code of the refusal."""
    try:
        returned = authorize(principal, action, video)
    except (Unauthenticated, Forbidden, NotFound) as error:
        return error.code
    assert returned is video
    return "permitted"


def expected(caller: str, action: Action, visibility: Visibility, state: VideoState) -> str:
    """The rule in other words than the code's: a table by kind of caller."""
    anonymous = caller in {"anonymous", "link holder", "holder of another link"}
    if anonymous and action not in FOR_ANYONE:
        return "unauthenticated"
    if caller in {"owner", "administrator"}:
        return "permitted" if state != "deleted" or action in AFTER_DELETION else "video_deleted"
    sees = visibility != "private" or caller in {"link holder", "stranger with a link"}
    if state == "deleted" or not sees:
        return "video_not_found"
    return "permitted" if action in FOR_ANYONE else "not_owner"


@pytest.mark.parametrize("caller", CALLERS)
def test_every_caller_may_do_exactly_what_the_table_says(caller: str) -> None:
    """Over every action, visibility and state."""
    for action, visibility, state in product(ABOUT_A_VIDEO, Visibility, VideoState):
        video = Video("the-video", "owner", visibility, state)
        assert outcome(CALLERS[caller], action, video) == expected(caller, action, visibility, state), (
            action,
            visibility,
            state,
        )


@pytest.mark.parametrize("caller", CALLERS)
def test_a_private_video_of_another_cannot_be_told_from_none(caller: str) -> None:
    """The refusal has the same class, code, status and words as for an id that was never given."""
    if caller in {"owner", "administrator"} or "link" in caller:
        return
    for action, state in product(ABOUT_A_VIDEO, VideoState):
        hidden = Video("the-video", "owner", Visibility.PRIVATE, state)
        with pytest.raises(PenstockError) as present:
            authorize(CALLERS[caller], action, hidden)
        with pytest.raises(PenstockError) as absent:
            authorize(CALLERS[caller], action, None)
        assert type(present.value) is type(absent.value)
        assert vars(present.value) == vars(absent.value)


@pytest.mark.parametrize("action", Action)
def test_a_key_without_the_scope_is_refused_before_any_video_is_looked_at(action: Action) -> None:
    """The answer is the same for one's own, for another's and for none, even to an administrator."""
    needed = {
        Action.UPLOAD: Scope.UPLOAD,
        Action.CONTINUE_UPLOAD: Scope.UPLOAD,
        Action.UPDATE: Scope.MANAGE,
        Action.DELETE: Scope.MANAGE,
        Action.RETRY: Scope.MANAGE,
        Action.ADMINISTER: Scope.ADMIN,
    }.get(action, Scope.READ)
    video = Video("the-video", "owner", Visibility.PUBLIC, VideoState.READY)
    for role, account in product(Role, ["owner", "stranger"]):
        principal = Principal(account, role, ALL_SCOPES - {needed})
        for subject in (video, None):
            assert outcome(principal, action, subject) == "scope_missing"


@pytest.mark.parametrize(
    ("action", "caller", "answer"),
    [
        (Action.UPLOAD, "anonymous", "unauthenticated"),
        (Action.UPLOAD, "stranger", None),
        (Action.LIST, "anonymous", None),
        (Action.LIST, "stranger", None),
        (Action.ADMINISTER, "anonymous", "unauthenticated"),
        (Action.ADMINISTER, "user with the admin scope", "administrator_required"),
        (Action.ADMINISTER, "administrator with a plain key", "scope_missing"),
        (Action.ADMINISTER, "administrator", None),
    ],
)
def test_actions_about_no_video(action: Action, caller: str, answer: str | None) -> None:
    """Uploading needs an account, listing none, administering the role together with the scope."""
    if answer is None:
        authorize(CALLERS[caller], action)
        return
    with pytest.raises(PenstockError) as refused:
        authorize(CALLERS[caller], action)
    assert refused.value.code == answer


def test_may_answers_as_authorize_decides() -> None:
    """The question in yes and no agrees with the refusals, over the whole table."""
    for caller, action, visibility, state in product(CALLERS, ABOUT_A_VIDEO, Visibility, VideoState):
        video = Video("the-video", "owner", visibility, state)
        permitted = outcome(CALLERS[caller], action, video) == "permitted"
        assert may(CALLERS[caller], action, video) is permitted
