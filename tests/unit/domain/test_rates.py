"""What may be done at once, and in a second."""

from __future__ import annotations

from server.domain.rates import Rate, TokenBucket, TokenBuckets

RATE = Rate(burst=10, per_s=2)


def test_a_burst_is_taken_at_once_and_comes_back_with_time() -> None:
    bucket = TokenBucket(RATE)
    assert bucket.take(10, 100.0) == 0
    assert bucket.take(1, 100.0) == 0.5
    assert bucket.take(3, 102.0) == 0
    assert bucket.over_s(102.0) == 0
    assert bucket.take(1, 102.0) == 0.5
    assert [bucket.over_s(now) for now in (102.25, 102.5, 200.0)] == [0.25, 0, 0]


def test_no_more_than_the_burst_comes_back() -> None:
    bucket = TokenBucket(RATE)
    assert bucket.take(10, 3600.0) == 0
    assert bucket.take(1, 3600.0) > 0
    assert bucket.take(11, 7200.0) == 0.5


def test_each_has_a_bucket_and_the_one_that_took_longest_ago_is_forgotten() -> None:
    buckets = TokenBuckets(2)
    for key in ("ann", "bob"):
        assert buckets.take(key, RATE, 11, 0.0) == 0.5
    assert buckets.take("ann", RATE, 1, 0.0) == 1
    assert buckets.take("eve", RATE, 1, 0.0) == 0
    assert [buckets.over_s(key, 0.0) for key in ("ann", "bob", "eve")] == [1, 0, 0]
