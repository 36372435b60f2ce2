from rag_pipeline.indexing.bucket_ranges import bucket_ranges
from rag_pipeline.indexing.identity import bucket_names


def test_without_a_number_all_buckets_are_one_range() -> None:
    names = bucket_names(16)
    assert bucket_ranges(names, per_run=None, wanted=names) == [names]


def test_ranges_hold_every_bucket_once_in_order() -> None:
    names = bucket_names(10)
    ranges = bucket_ranges(names, per_run=4, wanted=names)
    assert [len(part) for part in ranges] == [4, 4, 2]
    assert [name for part in ranges for name in part] == names


def test_a_range_is_asked_for_whole_where_one_of_its_buckets_is_wanted_and_its_borders_stay() -> None:
    names = bucket_names(16)
    assert bucket_ranges(names, per_run=8, wanted={"09"}) == [names[8:]]
    assert bucket_ranges(names, per_run=8, wanted=set()) == []
