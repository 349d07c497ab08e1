from fractions import Fraction

import pytest

from penstock.video.documents import DocumentMalformed
from penstock.video.media import Chapter, Colour, Hdr, SkippedStream, SourceMedia
from tests.unit.video.sources import picture, sound, source, subtitles


def test_a_picture_on_its_side_is_measured_upright_with_square_pixels() -> None:
    """The pixel's shape belongs to the stored picture, and what was its width becomes the height."""
    stored = picture(width=720, height=576, sample_aspect=Fraction(16, 15), rotation=90)
    assert stored.upright_size == (Fraction(576), Fraction(768))


@pytest.mark.parametrize(
    ("transfer", "kind"), [("smpte2084", Hdr.PQ), ("arib-std-b67", Hdr.HLG), ("bt709", None), (None, None)]
)
def test_high_dynamic_range_is_told_by_the_transfer_function(transfer: str | None, kind: Hdr | None) -> None:
    """Wide primaries alone are no high dynamic range."""
    assert Colour(primaries="bt2020", transfer=transfer).hdr is kind


def test_facts_survive_storing() -> None:
    """What is written as JSON is read back equal, exact fractions and nested values included."""
    media = source(
        video=(picture(start=Fraction(1001, 30000), duration=None),),
        audio=(sound(language="eng", title="Director"),),
        subtitles=(subtitles(forced=True),),
        chapters=(Chapter(Fraction(0), Fraction(1, 3), "One"),),
        skipped=(SkippedStream(3, "video", "cover_art"),),
        duration=None,
        truncated=True,
    )
    assert SourceMedia.from_json(media.to_json()) == media


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"container": 5}', "null"])
def test_other_documents_are_refused(text: str) -> None:
    """A stored document of another form is an error with a code, not an accident later on."""
    with pytest.raises(DocumentMalformed):
        SourceMedia.from_json(text)
