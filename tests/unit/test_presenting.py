"""What is kept of answers takes no more memory than it is long: a worker keeps hundreds of them."""

import tracemalloc

from bff.web import presenting


def test_what_is_kept_of_answers_takes_no_more_memory_than_it_is_long():
    presenting._meta.cache_clear()
    presenting._meta(1, stale=False, fetched_at=1)
    tracemalloc.start()
    try:
        kept = [presenting._meta(2, stale=False, fetched_at=1_800_000_000 + second) for second in range(200)]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        presenting._meta.cache_clear()

    assert len(set(kept)) == 200
    assert taken < 200 * 800
