"""Medians, spreads and the marks that keep a figure from being quoted."""

import pytest

from benchmarks.suite.statistics import Ratio, Sample

QUIET = Sample.of([10.0, 10.2, 9.9, 10.1, 10.0])
NOISY = Sample.of([10.0, 10.0, 10.0, 10.0, 11.6])
FEW = Sample.of([10.0, 10.0])


def test_a_sample_has_a_median_and_a_spread() -> None:
    assert QUIET.median == 10.0
    assert QUIET.spread == pytest.approx(0.03)


def test_an_empty_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a value"):
        Sample.of([])


@pytest.mark.parametrize(("sample", "mark"), [(QUIET, ""), (NOISY, "noisy"), (FEW, "few"), (Sample.of([1.0, 2.0]), "noisy")])
def test_a_sample_says_why_it_may_not_be_published(sample: Sample, mark: str) -> None:
    assert sample.mark == mark


def test_fifteen_hundredths_of_the_median_may_be_published() -> None:
    assert Sample.of([10.0, 10.0, 10.0, 10.0, 11.5]).mark == ""


def test_a_ratio_is_of_medians_with_the_widest_range() -> None:
    ratio = Ratio.of(Sample.of([18.0, 20.0, 22.0]), Sample.of([4.0, 5.0, 6.0]))
    assert ratio == Ratio(4.0, 3.0, 5.5, "noisy")


@pytest.mark.parametrize(("other", "mark"), [(QUIET, ""), (NOISY, "noisy"), (FEW, "few")])
def test_a_ratio_is_as_good_as_the_worse_of_the_two(other: Sample, mark: str) -> None:
    for ratio in (Ratio.of(QUIET, other), Ratio.of(other, QUIET)):
        assert ratio is not None
        assert ratio.mark == mark


def test_there_is_no_ratio_over_nothing() -> None:
    assert Ratio.of(QUIET, Sample.of([0.0])) is None
