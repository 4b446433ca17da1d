"""How much may come now."""

from utils.bucket import TokenBucket


def test_a_bucket_begins_full_is_emptied_and_fills_again_but_not_over_its_brim():
    time = [100.0]
    bucket = TokenBucket(10.0, 2.0, lambda: time[0])
    assert bucket.level == 10.0
    bucket.take(14.0)
    assert (bucket.level, bucket.wait_s) == (-4.0, 2.0)
    time[0] += 3.0
    assert (bucket.level, bucket.wait_s) == (2.0, 0.0)
    time[0] += 60.0
    assert bucket.level == 10.0
