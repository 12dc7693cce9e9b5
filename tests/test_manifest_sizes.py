"""Sizes in FfDL's spelling and FfDL's bytes (FfDL contract §1.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_ffdl.manifest import sizes

TABLE = [
    ("1Gb", 1, "GB", 1_048_576_000),
    ("1GB", 1, "GB", 1_048_576_000),
    ("1gb", 1, "GB", 1_048_576_000),
    ("2 GB", 2, "GB", 2_097_152_000),
    ("12Gb", 12, "GB", 12_582_912_000),
    ("16GB", 16, "GB", 16_777_216_000),
    ("16Gb", 16, "GB", 16_777_216_000),
    ("500MB", 500, "MB", 524_288_000),
    ("300MiB", 300, "MiB", 329_850_552),
    ("1000MiB", 1000, "MiB", 1_099_515_822),
    ("2000MiB", 2000, "MiB", 2_199_021_158),
    ("1GiB", 1, "GiB", 1_125_897_994),
    ("1.5Gb", 1.5, "GB", 1_572_864_000),
    ("1Gi", 1024, "MB", 1_073_741_824),
    ("1Ki", 1 / 1024, "MB", 1024),
    ("1Mi", 1, "MB", 1_048_576),
    ("1Ti", 1_048_576, "MB", 1_099_511_627_776),
    ("1.5Gi", 1536, "MB", 1_610_612_736),
    ("512M", 488.28125, "MB", 512_000_000),
    ("1k", 1000 / 1_048_576, "MB", 1000),
    ("2G", 1907.3486328125, "MB", 2_000_000_000),
    ("2T", 1907348.6328125, "MB", 2_000_000_000_000),
    ("1TiB", 1_048_576, "MB", 1_099_511_627_776),
    ("1tib", 1_048_576, "MB", 1_099_511_627_776),
    ("2TB", 1907348.6328125, "MB", 2_000_000_000_000),
    ("  1Gb\t", 1, "GB", 1_048_576_000),
    ("0Gb", 0, "GB", 0),
]


@pytest.mark.parametrize(("text", "value", "unit", "size_bytes"), TABLE)
def test_a_size_has_ffdls_bytes(text, value, unit, size_bytes):
    assert sizes.parse(text) == sizes.Size(value, unit, size_bytes)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("512", "Add a unit: 512MB or 512GB"),
        ("512m", "Capitals count here: 512M"),
        ("1gi", "Capitals count here: 1Gi"),
        ("8Gb8", "Write it like 500MB, 8Gb, 1.5GB, 2GiB or 4Gi"),
        ("abc", "Write it like 500MB, 8Gb, 1.5GB, 2GiB or 4Gi"),
        ("-1Gb", "Write it like 500MB, 8Gb, 1.5GB, 2GiB or 4Gi"),
        ("+1Gb", "Write it like 500MB, 8Gb, 1.5GB, 2GiB or 4Gi"),
        ("", "Write it like 500MB, 8Gb, 1.5GB, 2GiB or 4Gi"),
        ("1,5Gb", "Write it like 500MB, 8Gb, 1.5GB, 2GiB or 4Gi"),
        ("1.Gb", "Write it like 500MB, 8Gb, 1.5GB, 2GiB or 4Gi"),
        ("1e3Gb", "Write it like 500MB, 8Gb, 1.5GB, 2GiB or 4Gi"),
        ("1\u00a0Gb", "Write it like 500MB, 8Gb, 1.5GB, 2GiB or 4Gi"),
        ("\u0661Gb", "Write it like 500MB, 8Gb, 1.5GB, 2GiB or 4Gi"),
        ("1KB", "Write it like 500MB, 8Gb, 1.5GB, 2GiB or 4Gi"),
        ("999999999999999TB", "Write it like 500MB, 8Gb, 1.5GB, 2GiB or 4Gi"),
    ],
)
def test_what_is_no_size_is_refused_with_a_remedy(text, hint):
    assert sizes.parse(text) is None
    assert sizes.hint(text) == hint


@given(st.integers(0, 10**6), st.sampled_from(["MB", "MiB", "GB", "GiB"]), st.integers(0, 3))
def test_a_size_of_ffdl_grows_with_its_number_in_any_case_and_spacing(number, unit, blanks):
    size = sizes.parse(f"{number}{unit}")
    assert size is not None
    assert (size.value, size.unit) == (number, unit)
    assert sizes.parse(f"{number}{' ' * blanks}{unit.swapcase()}") == size
    more = sizes.parse(f"{number + 1}{unit}")
    assert more is not None
    assert more.bytes > size.bytes


@given(st.text(max_size=20))
def test_every_text_is_a_size_or_has_a_hint(text):
    size = sizes.parse(text)
    assert sizes.hint(text)
    if size is not None:
        assert size.bytes >= 0
        assert size.unit in {"MB", "MiB", "GB", "GiB"}
