"""What goes out: as the schema dumps it, and kept in no more memory than it is long, since a worker keeps hundreds of answers."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from bff.accounts.providers import Provider
from bff.models import LinkedIdentity
from bff.web import representation as presenting
from schemas.linked_accounts import LinkedAccountSchema

TEXT = st.text(max_size=8)
MAYBE = st.none() | TEXT
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
VIEW = st.fixed_dictionaries(
    {
        "id": MAYBE,
        "provider": st.builds(Provider, TEXT, TEXT, MAYBE, MAYBE),
        "display_name": MAYBE,
        "email": MAYBE,
        "avatar_url": MAYBE,
        "identity_types": TEXTS,
    },
    optional={"identities": st.lists(st.builds(LinkedIdentity, MAYBE, MAYBE, MAYBE, TEXTS), max_size=3).map(tuple)},
)


@given(VIEW)
def test_an_account_is_written_as_it_is_dumped(view):
    schema = LinkedAccountSchema()

    assert list(schema.write(view).items()) == list(schema.dump(view).items())


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
