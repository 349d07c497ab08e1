"""How a bucket is reached: its address, credentials, and how patient a client of it is.

The only file that makes clients of S3: obstore's, which moves objects, and boto3's, which has what obstore lacks. What they
raise becomes errors of the tree at this edge; neither the log nor an error holds a key, an address or a secret.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any
from urllib.parse import unquote, urlsplit

import structlog

from penstock.storage.store import ObjectMissing, is_key
from penstock.video.errors import ConfigurationError, PenstockError, StorageFull, StorageUnavailable

_log = structlog.get_logger(__name__)

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_DENIED = frozenset(
    {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
)
_FULL = re.compile(r"StorageFull|QuotaExceeded|InsufficientStorage|EntityTooLarge")
_SAID = re.compile(r"<Code>(\w+)</Code>|status: (\d{3})")


class ClockSkewed(StorageUnavailable):
    """The object store refuses what this machine's clock dates. Nothing was changed; an operator must set the clock."""

    code = "storage_clock_skewed"


class StorageDenied(StorageUnavailable):
    """The object store refuses the credentials, or they do not permit this. Nothing was changed; an operator must act."""

    code = "storage_denied"
    title = "The object store refuses access"


class BucketMissing(StorageUnavailable):
    """There is no such bucket. An operator must make it, or correct the address."""

    code = "bucket_missing"
    title = "The bucket is missing"


class RangeRefused(StorageUnavailable):
    """The store has nothing in the range that it was asked for, as its object ends before."""


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where a store of objects is, and what opens it. The fields but ``url`` concern buckets alone."""

    url: str
    """``file:///absolute/folder`` or ``s3://bucket/prefix``."""

    endpoint: str | None = None
    """Address of an S3-compatible server, ``https://minio.example.org:9000``. None: ``AWS_ENDPOINT_URL``, else Amazon's."""

    region: str | None = None
    """Region of the bucket. None: ``AWS_REGION`` or ``AWS_DEFAULT_REGION``, else ``us-east-1``, which servers that have no
    regions accept."""

    access_key_id: str | None = None
    """Name of the key that opens the bucket. None: ``AWS_ACCESS_KEY_ID``, else what boto3 finds: a profile, or the role of
    the machine or container. What serves players needs to read and list the outputs, and nothing else."""

    secret_access_key: str | None = field(default=None, repr=False)
    """Its secret. None: ``AWS_SECRET_ACCESS_KEY``, as above."""

    session_token: str | None = field(default=None, repr=False)
    """Token that belongs to temporary credentials. None: ``AWS_SESSION_TOKEN`` where the key is Amazon's too."""

    path_style: bool | None = None
    """Whether the bucket stands in the path (``host/bucket``) and not in the host's name. None: yes with an endpoint of
    one's own, as most servers expect."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket, and what all keys in it begin with: empty, or ending with a slash."""

    name: str
    prefix: str

    @classmethod
    def of(cls, url: str) -> "Bucket":
        """From ``s3://bucket/prefix``. Raises :class:`ConfigurationError`."""
        parts = urlsplit(url)
        prefix = unquote(parts.path).strip("/")
        fits = _BUCKET.fullmatch(parts.netloc) and not parts.query and not parts.fragment
        if not fits or (prefix and not is_key(prefix)):
            raise ConfigurationError(
                "A bucket's storage URL has the form s3://bucket/prefix, with a prefix of letters, digits and ._-/ or none; "
                "keys and endpoint are settings of their own.",
                code="storage_url_invalid",
            )
        return cls(parts.netloc, f"{prefix}/" if prefix else "")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one waits for a store; seconds."""

    connect: float
    request: float  # one request from its first to its last byte; at most 8 MiB are moved in one
    retries: int
    retry_for: float  # no further attempt begins later than this


class Pace(Enum):
    """Whom a client of a store serves."""

    # A player has some seconds in its buffer and asks again by itself: an error in time helps it more than patience.
    PLAYBACK = Patience(connect=2, request=10, retries=2, retry_for=6)
    # Work is lost by giving up, and 8 MiB take a minute on a line of 1 Mbit/s. Longer outages are the task's to survive.
    WORK = Patience(connect=5, request=90, retries=6, retry_for=60)


def object_client(config: StoreConfig, pace: Pace) -> Any:
    """Obstore's client of the bucket, below its prefix. Opening it asks nobody."""
    from obstore.store import S3Store

    bucket, patience = Bucket.of(config.url), pace.value
    options: dict[str, Any] = {
        "region": region(config),
        "virtual_hosted_style_request": not path_style(config),
    }
    if config.endpoint:
        options["endpoint"] = _endpoint(config)
    if config.access_key_id:
        options |= {
            "access_key_id": config.access_key_id,
            "secret_access_key": config.secret_access_key or "",
        }
        if config.session_token:
            options["session_token"] = config.session_token
    else:
        from obstore.auth.boto3 import Boto3CredentialProvider

        with translated("credentials"):
            options["credential_provider"] = Boto3CredentialProvider(_session(config))
    return S3Store(
        bucket.name,
        prefix=bucket.prefix.rstrip("/") or None,
        client_options={
            "allow_http": (config.endpoint or "").startswith("http://"),
            "connect_timeout": timedelta(seconds=patience.connect),
            "timeout": timedelta(seconds=patience.request),
        },
        retry_config={
            "max_retries": patience.retries,
            "retry_timeout": timedelta(seconds=patience.retry_for),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=5),
                "base": 2,
            },
        },
        **options,
    )


def multipart_client(config: StoreConfig) -> Any:
    """boto3's client. Signing with it is computing alone; threads may share it."""
    from botocore.config import Config

    patience = Pace.WORK.value
    return _session(config).client(
        "s3",
        endpoint_url=_endpoint(config) if config.endpoint else None,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if path_style(config) else "virtual"},
            connect_timeout=patience.connect,
            read_timeout=patience.request,
            retries={"mode": "standard", "total_max_attempts": 4},
            max_pool_connections=64,  # threads that receive uploads at once
            # The newer checksums are not understood by every compatible store; ETags and digests are compared anyway.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def region(config: StoreConfig) -> str:
    """The region that requests are signed for."""
    return config.region or "us-east-1"


def path_style(config: StoreConfig) -> bool:
    """Whether the bucket stands in the path."""
    return bool(config.endpoint) if config.path_style is None else config.path_style


def _session(config: StoreConfig) -> Any:
    from boto3.session import Session

    return Session(
        aws_access_key_id=config.access_key_id,
        aws_secret_access_key=config.secret_access_key,
        aws_session_token=config.session_token,
        region_name=region(config),
    )


def _endpoint(config: StoreConfig) -> str:
    parts = urlsplit(config.endpoint or "")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.username:
        raise ConfigurationError(
            "The endpoint of a bucket has the form https://host:port.", code="storage_url_invalid"
        )
    return (config.endpoint or "").rstrip("/")


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Turns what both libraries raise into errors of the tree; the log keeps the kind and the store's own code alone."""
    try:
        yield
    except PenstockError:
        raise
    except FileNotFoundError as error:
        if "NoSuchBucket" in str(error) or action in {"list", "put"}:
            raise _logged(
                action, error, BucketMissing("There is no such bucket; make it, or correct its address.")
            ) from None
        raise ObjectMissing("There is no such object.") from None
    except Exception as error:
        if not _is_foreign(error):
            raise
        raise _logged(action, error, _meaning(error)) from None


def code_of(error: BaseException) -> str:
    """The store's own word for what was wrong, or the HTTP status; empty where it did not answer."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", ""))
    found = _SAID.search(str(error))
    return (found[1] or found[2]) if found else ""


def _is_foreign(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] in {"obstore", "botocore", "boto3"}


def _meaning(error: Exception) -> StorageUnavailable | StorageFull:
    code, kind = code_of(error), type(error).__name__
    if code in {"InvalidRange", "416"}:
        return RangeRefused("The object ends before the range that was asked for.")
    if code == "NoSuchBucket":
        return BucketMissing("There is no such bucket; make it, or correct its address.")
    if code == "RequestTimeTooSkewed":
        return ClockSkewed(
            "The object store refuses this machine's time; set its clock (S3 allows 15 minutes)."
        )
    if code in _DENIED | {"401", "403"} or kind in {
        "PermissionDeniedError",
        "UnauthenticatedError",
        "NoCredentialsError",
        "PartialCredentialsError",
    }:
        return StorageDenied("The object store refuses the credentials, or they do not permit this.")
    if _FULL.search(code) or code == "507":
        return StorageFull("The storage has no room for this; free some space and try again.")
    return StorageUnavailable("The object store did not complete the operation; try again later.")


def _logged(action: str, error: BaseException, meaning: PenstockError) -> PenstockError:
    _log.error(
        "storage_fault", action=action, kind=type(error).__name__, answer=code_of(error), code=meaning.code
    )
    return meaning
