"""The room's own error tree: it reaches no other room, so that it can serve programs that have nothing to do with video.

Each error carries a stable ``code``, the HTTP status it suggests, and a text that names the remedy and says what changed.
"""


class MembershipError(Exception):
    """Base of the tree. Unless a subclass says otherwise, nothing was changed."""

    code = "membership_error"
    status = 500

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidInput(MembershipError):
    """The caller's value cannot be used: too large, malformed, contradictory."""

    code = "invalid_request"
    status = 422


class UnknownMember(MembershipError):
    """No member has this id or name."""

    code = "unknown_member"
    status = 404


class MemberAlive(MembershipError):
    """Only a member that does not answer can be made to leave by others; one that does leaves by itself."""

    code = "member_alive"
    status = 409


class NotAuthorised(MembershipError):
    """The control interface was asked without its token."""

    code = "not_authorised"
    status = 401


class KeyInUse(MembershipError):
    """The key encrypts what this node sends; another must become primary before it can go."""

    code = "key_in_use"
    status = 409


class UnknownKey(MembershipError):
    """No key with this fingerprint is in the ring."""

    code = "unknown_key"
    status = 404


class Unreachable(MembershipError):
    """Nobody answered there."""

    code = "unreachable"
    status = 503


class StateUnreadable(MembershipError):
    """A file of this node's state is damaged or belongs to another node. It is left as it is."""

    code = "state_unreadable"
