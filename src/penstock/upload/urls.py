"""The signed addresses that the service gives for the bytes of an upload: the address is the permission, until it expires."""

import time
from dataclasses import dataclass

from penstock.access import signed_urls
from penstock.access.keyring import Keyring
from penstock.upload.config import UploadConfig

PREFIX = "/api/uploads"
TUS_PREFIX = f"{PREFIX}/tus"
_PURPOSE = "upload"
_TUS_METHOD = "PATCH"  # stands for all that the protocol does with one address


@dataclass(frozen=True, slots=True)
class SignedUrl:
    """An address to PUT to, and when it ceases to open, in seconds since the Unix epoch."""

    url: str
    expires: int


class Urls:
    """Signs addresses, and recognises its own."""

    def __init__(self, keyring: Keyring, config: UploadConfig) -> None:
        self._keyring = keyring
        self._life = config.url_life_s
        self._tus_life = (
            config.session_life_s
        )  # a client of that protocol has no way to ask for another address
        self._base = config.public_url

    def content(self, upload_id: str) -> SignedUrl:
        """Where the whole of a ``put`` upload goes."""
        return self._signed(content_path(upload_id))

    def part(self, upload_id: str, number: int) -> SignedUrl:
        """Where one part of a ``direct`` upload goes."""
        return self._signed(part_path(upload_id, number))

    def tus(self, upload_id: str) -> SignedUrl:
        """Where a ``tus`` upload is asked after, continued and cancelled by whoever has the address."""
        return self._signed(tus_path(upload_id), method=_TUS_METHOD, life=self._tus_life)

    def tus_plain(self, upload_id: str) -> str:
        """The same for who shows a key with each request."""
        return f"{self._base}{tus_path(upload_id)}"

    def check(self, path: str, signature: str) -> None:
        """Raises ``Forbidden``: ``signature_invalid`` or ``signature_expired``."""
        self._check(path, signature, "PUT")

    def check_tus(self, upload_id: str, signature: str) -> None:
        """The same for the address of a ``tus`` upload."""
        self._check(tus_path(upload_id), signature, _TUS_METHOD)

    def _check(self, path: str, signature: str, method: str) -> None:
        signed_urls.verify(
            self._keyring, signature, purpose=_PURPOSE, method=method, resource=path, now=time.time()
        )

    def _signed(self, path: str, *, method: str = "PUT", life: int | None = None) -> SignedUrl:
        expires = int(time.time()) + (self._life if life is None else life)
        signature = signed_urls.sign(
            self._keyring, purpose=_PURPOSE, method=method, resource=path, expires=expires
        )
        return SignedUrl(f"{self._base}{path}?signature={signature}", expires)


def content_path(upload_id: str) -> str:
    """The path of a ``put`` upload's bytes."""
    return f"{PREFIX}/{upload_id}/content"


def part_path(upload_id: str, number: int) -> str:
    """The path of a ``direct`` upload's part."""
    return f"{PREFIX}/{upload_id}/parts/{number}"


def tus_path(upload_id: str) -> str:
    """The path of a ``tus`` upload."""
    return f"{TUS_PREFIX}/{upload_id}"
