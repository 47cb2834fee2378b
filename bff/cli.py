"""The operator's commands, which work beside the service, and also where it does not run.

A command reads the settings that it needs and no others (`StorageSettings`): what is wrong with those does not stop it.
Exit codes: 0 when it is done, 1 when something could not be reached, 2 when the command or its settings cannot be used.

What is printed holds no user id and no secret: a container's output is a log.
"""

import click
from flask import Flask

from bff.cache import CacheUnavailable, Changes, InvalidationBus, Lifetimes, Values
from bff.observability import Recorder
from bff.setting_addresses import without_secrets
from bff.settings import ConfigurationError, StorageSettings
from bff.storage import make_storage
from schemas.oidc import is_identifier

# An operator waits longer than a request does.
_REDIS_SECONDS = 2.0
_DAY = 86_400
# A change is kept until nothing from before it can be served: the most that the settings may say, for they may be unreadable.
_LONGEST = Lifetimes(ttl=_DAY, stale=30 * _DAY, accepted=_DAY, refused=_DAY)


class _Unusable(click.ClickException):
    exit_code = 2


@click.group()
def main() -> None:
    """Look after the service from beside it, with the environment that the service has."""


def _user_id(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not is_identifier(value):
        raise click.BadParameter("an id has 1 to 256 printable characters and no blank at either end.")
    return value


@main.command(short_help="Forget what is kept of one person.")
@click.argument("user", callback=_user_id)
@click.option("--sign-out", is_flag=True, help="Also believe no token of theirs until GenAuth has accepted it again.")
def forget(user: str, *, sign_out: bool) -> None:
    """Forget what every worker and Redis keep of the person with the id USER: GenAuth is asked again.

    That is their linked accounts, how they can sign in, and which tokens GenAuth refused. It ends no session at GenAuth.

    It reads REDIS_URL, CACHE_SECRET, GENAUTH_HOST and GENAUTH_APP_ID, which have to be those of the service.
    """
    settings = _settings()
    if settings.redis_url == "embedded":
        raise click.ClickException(
            "REDIS_URL is embedded: that Valkey is private to the service and cannot be reached from here. "
            "It holds nothing after a restart: restart the service to forget everybody."
        )
    storage = make_storage(Flask("bff"), settings, Recorder(), redis_seconds=_REDIS_SECONDS)
    bus = InvalidationBus(storage.store, storage.changes_channel, on_invalidate=_nothing, on_gap=_nothing)
    values = Values(storage.codec, Recorder(), _LONGEST)
    changes = Changes(storage.store, values, bus, Recorder(), person=storage.person)
    try:
        changes.forget(user, cause="command", refusals=True, acceptances=sign_out)
    except CacheUnavailable:
        reason = storage.store.trouble() or "others write there right now"
        raise click.ClickException(
            f"Redis at {without_secrets(settings.redis_url)} could not be reached, or did not do it ({reason}). "
            "Nothing is certain: run the command again."
        ) from None
    click.echo("Forgotten, in Redis and by whoever listens: linked accounts, ways to sign in, refused tokens.")
    if sign_out:
        click.echo("No token of the person's is believed until GenAuth has accepted it again.")
    try:
        listening = storage.store.subscribers(storage.changes_channel)
    except CacheUnavailable:
        click.echo(f"How many workers were listening could not be found out ({storage.store.trouble()}).", err=True)
        return
    click.echo(f"Workers that were listening: {listening}.")
    if not listening:
        click.echo(
            "If the service runs, then with another REDIS_URL, CACHE_SECRET, GENAUTH_HOST or GENAUTH_APP_ID, "
            "or without a connection to Redis.",
            err=True,
        )


def _settings() -> StorageSettings:
    try:
        return StorageSettings.from_env()
    except ConfigurationError as error:
        raise _Unusable("\n".join(["these settings cannot be used:", *(f"  - {each}" for each in error.mistakes)])) from None


def _nothing(*_: object) -> None:
    """This process keeps nothing that could be outdated."""
