"""The Redis of the service, and what a person is called in it: the same for every program with the same `StorageSettings`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from flask import Flask

from bff.cache import PREFIX, Codec, EncryptedCodec, PlainCodec, RedisStore, redis_backend
from bff.observability import Recorder, circuit_log
from bff.resilience import CircuitBreaker, Rules, memoised
from bff.settings import StorageSettings

# Redis answers in well under a millisecond or not at all: one failure is enough to know, and a second to find out again.
_BREAKER = Rules(failures_in_a_row=1, open_seconds=1.0, open_at_most=4.0, probe_seconds=2.0)


@dataclass(frozen=True, slots=True)
class Storage:
    """Where things are stored, how they are written, and what they are called there.

    ``application`` is the opaque id of the application of GenAuth's: two may share a Redis. ``names`` gives opaque ids within it,
    ``person`` that of a user.
    """

    store: RedisStore
    codec: Codec
    application: str
    names: Callable[..., str]
    person: Callable[[str], str]

    @property
    def changes_channel(self) -> str:
        """Where each worker listens for what changed."""
        return f"{PREFIX}changed:{self.application}"


def make_storage(app: Flask, settings: StorageSettings, recorder: Recorder, *, redis_seconds: float) -> Storage:
    """The storage that the settings lead to; it does not connect yet. ``app`` is what flask-caching registers its backend with.

    ``redis_seconds`` is how long Redis may take to be connected to, and for each answer.
    """
    codec: Codec = EncryptedCodec(settings.cache_secret) if settings.cache_secret else PlainCodec()
    store = RedisStore(
        lambda: redis_backend(app, settings.redis_url, timeout=redis_seconds),
        CircuitBreaker("redis", _BREAKER, on_change=circuit_log(recorder)),
        recorder,
        connect_seconds=redis_seconds,
    )
    application = codec.opaque_id("application", settings.genauth_host, settings.genauth_app_id)
    names = partial(codec.opaque_id, application)
    return Storage(store, codec, application, names, person=memoised("user_names")(names))
