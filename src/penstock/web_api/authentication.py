"""From the ``Authorization`` header to a principal.

How keys are stored is injected: a lookup from a key's digest to its record. What the principal may do is decided by
``access.authorize``, never here.
"""

from collections.abc import Callable, Collection
from typing import Annotated, Protocol

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from penstock.access import api_keys
from penstock.access.principals import ANONYMOUS, Principal, Role, Scope
from penstock.video.errors import Unauthenticated
from penstock.web_api import context


class StoredKey(Protocol):
    """A key's record, joined with its account's role. Lookups do not return revoked or expired keys."""

    @property
    def id(self) -> str:
        """The key's id."""
        ...

    @property
    def digest(self) -> str:
        """Of the secret, as :attr:`penstock.access.api_keys.ApiKey.digest`."""
        ...

    @property
    def account_id(self) -> str:
        """Whose key it is."""
        ...

    @property
    def role(self) -> str:
        """Of the account."""
        ...

    @property
    def scopes(self) -> Collection[str]:
        """What the key may be used for."""
        ...


KeyLookup = Callable[[str], StoredKey | None]  # from a digest; blocking: called off the event loop
Authenticate = Callable[..., Principal]

# Shown in the OpenAPI document; absence of the header is not an error, as some things are open to anyone.
_bearer = HTTPBearer(auto_error=False, scheme_name="ApiKey", description="An API key: `pst_<id>_<secret>`.")


def principal_of(authorization: str | None, lookup: KeyLookup) -> Principal:
    """The caller that a header names; anonymous without one. Raises :class:`Unauthenticated` for a bad credential."""
    if authorization is None:
        return ANONYMOUS
    scheme, _, text = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated("Only API keys are accepted: send 'Authorization: Bearer pst_...'.")
    presented = api_keys.parse(text.strip())
    stored = lookup(presented.digest)
    if stored is None or not presented.matches(stored.digest):
        raise api_keys.invalid()
    context.note(account_id=stored.account_id, key_id=stored.id)
    known = {str(scope) for scope in Scope}
    return Principal(
        account_id=stored.account_id,
        role=Role(stored.role),
        scopes=frozenset(Scope(scope) for scope in stored.scopes if scope in known),
        key_id=stored.id,
    )


def authenticator(lookup: KeyLookup) -> Authenticate:
    """A FastAPI dependency that gives the :class:`Principal`; it runs in the thread pool."""

    def authenticate(
        request: Request, _documented: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Principal:
        return principal_of(request.headers.get("authorization"), lookup)

    return authenticate
