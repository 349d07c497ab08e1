"""How an upload divides into parts, and whether all of them are there. Pure arithmetic; no records, no bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penstock.video.errors import Conflict, FieldError, InvalidRequest

_STEP = 1024 * 1024  # part sizes are whole mebibytes: aligned for the disk, readable for people
_MOST_NAMED = 20  # missing parts that an error names; the count says the rest


class PartsMissing(Conflict):
    """The upload cannot be completed: parts are not there, or are not those that the client sent."""

    code = "parts_missing"
    title = "Parts are missing"


@dataclass(frozen=True, slots=True)
class Part:
    """One part: bytes ``offset`` to ``offset + size`` of the upload. Numbers start at 1."""

    number: int
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class PartMap:
    """The parts of an upload of ``size`` bytes, all of ``part_size`` but the last."""

    size: int
    part_size: int

    @property
    def count(self) -> int:
        """How many parts there are."""
        return -(-self.size // self.part_size)

    def part(self, number: int) -> Part | None:
        """The part with this number, or None where the upload has none."""
        if not 1 <= number <= self.count:
            return None
        offset = (number - 1) * self.part_size
        return Part(number, offset, min(self.part_size, self.size - offset))

    def all(self) -> list[Part]:
        """Every part in order."""
        return [part for number in range(1, self.count + 1) if (part := self.part(number)) is not None]

    def missing(self, present: Mapping[int, int]) -> list[Part]:
        """Those not ``present`` (number to size) with their full size."""
        return [part for part in self.all() if present.get(part.number) != part.size]


def divide(size: int, *, part_size: int, most_parts: int) -> PartMap:
    """Parts of ``part_size``, or of as much more as keeps their number at ``most_parts``."""
    least = -(-size // most_parts)
    return PartMap(size, max(part_size, -(-least // _STEP) * _STEP))


def check_complete(parts: PartMap, present: Mapping[int, int]) -> None:
    """Raises :class:`PartsMissing` with the numbers of the parts that are not there."""
    missing = parts.missing(present)
    if missing:
        named = tuple(
            FieldError(f"/parts/{part.number}", "This part is not there.") for part in missing[:_MOST_NAMED]
        )
        raise PartsMissing(
            f"{len(missing)} of {parts.count} parts are not there yet; send them and complete again.",
            errors=named,
        )


def check_claimed(claimed: Sequence[tuple[int, str]], etags: Mapping[int, str | None]) -> None:
    """Compares what the client believes to have sent (number and ETag) with what arrived.

    Raises :class:`InvalidRequest` for a number listed twice and :class:`PartsMissing` where a part is other than claimed.
    """
    numbers = [number for number, _ in claimed]
    if len(set(numbers)) != len(numbers):
        raise InvalidRequest("A part is listed twice.", code="parts_invalid")
    wrong = [number for number, etag in claimed if etags.get(number) != etag.strip('"')]
    if wrong:
        named = tuple(
            FieldError(f"/parts/{number}", "Another ETag arrived, or none.") for number in wrong[:_MOST_NAMED]
        )
        raise PartsMissing(
            "Parts differ from those listed; send them again.", code="parts_differ", errors=named
        )
