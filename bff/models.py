"""What is passed from room to room: values without I/O, a clock or a secret in their repr."""

from dataclasses import dataclass

import msgspec
from msgspec import Struct


class Session(Struct, frozen=True):
    """A verified session.

    ``expires_at`` is in epoch seconds; ``digest`` (SHA-256, hex) stands for the token wherever the token may not be kept.
    ``new``: the token has just been verified, so that this process has hardly asked about it lately.
    """

    user_id: str
    expires_at: float
    token: str
    digest: str
    new: bool = False

    def __repr__(self) -> str:
        """Without the token."""
        return f"Session(user_id={self.user_id!r}, expires_at={self.expires_at}, digest={self.digest!r})"


@dataclass(frozen=True, slots=True)
class Profile:
    """What a provider says of the person, every field optional. Named as GenAuth names them (docs/genauth.md 2.4)."""

    nickname: str | None = None
    name: str | None = None
    username: str | None = None
    email: str | None = None
    photo: str | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """One identity record of GenAuth, without its tokens, which have no field here."""

    identity_id: str | None
    ext_idp_id: str | None
    provider: str
    type: str | None = None
    user_id_in_idp: str | None = None
    connection_ids: tuple[str, ...] = ()
    profile: Profile = Profile()

    @property
    def account_id(self) -> str | None:
        """The identity source's id, which unlink takes; a record without one stands for itself."""
        return self.ext_idp_id or self.identity_id


class LinkedIdentity(Struct, frozen=True, array_like=True):
    """One identity record as the contract shows it. ``subject`` is the person's id at the provider."""

    id: str | None
    type: str | None
    subject: str | None
    connection_ids: tuple[str, ...] = ()


class LinkedAccount(Struct, frozen=True, array_like=True):
    """One outside account, as a person sees it. ``id`` is the ``extIdpId``; ``email`` is masked.

    A field that held a provider's token is None (`bff.accounts.leak_guard`), which is the only way for ``id`` to be None.
    Stored as an array: field names would be half of what the cache holds.
    """

    id: str | None
    provider: str
    display_name: str | None
    email: str | None
    avatar_url: str | None
    identity_types: tuple[str, ...]
    identities: tuple[LinkedIdentity, ...]


_STORED = msgspec.json.Decoder(tuple[LinkedAccount, ...])


def restored(json: bytes) -> tuple[LinkedAccount, ...]:
    """The accounts that were encoded so; raises what msgspec does."""
    return _STORED.decode(json)
