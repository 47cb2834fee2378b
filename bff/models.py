"""What is passed from package to package: values without I/O, a clock or a secret in their repr."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")


@dataclass(frozen=True, slots=True)
class Session:
    """A verified session.

    ``expires_at`` is in epoch seconds; ``digest`` (SHA-256, hex) stands for the token wherever the token may not be kept. Texts
    that differ only in the spelling of a signature are one token, and have one digest. ``issued_at`` is when the token was made
    and ``signed_in_at`` when the person signed in, in epoch seconds, None where the token says nothing of it.
    """

    user_id: str
    expires_at: float
    token: str = field(repr=False)
    digest: str
    issued_at: float | None = None
    signed_in_at: float | None = None


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


@dataclass(frozen=True, slots=True)
class LinkedIdentity:
    """One identity record as the contract shows it. ``subject`` is the person's id at the provider."""

    id: str | None
    type: str | None
    subject: str | None
    connection_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LinkedAccount:
    """One outside account, as a person sees it. ``email`` is masked.

    ``id`` is the ``source_id``, which is GenAuth's ``extIdpId``; where that is None, the id of the record that stands for itself.
    """

    id: str
    provider: str
    display_name: str | None
    email: str | None
    avatar_url: str | None
    identity_types: tuple[str, ...]
    identities: tuple[LinkedIdentity, ...]
    source_id: str | None = None


@dataclass(frozen=True, slots=True)
class SecurityInfo:
    """How somebody can sign in but by linked accounts. None is what GenAuth did not say."""

    password_set: bool | None
    email_bound: bool | None
    phone_bound: bool | None


@dataclass(frozen=True, slots=True)
class RenderedAccounts:
    """A person's linked accounts as they are sent: a JSON array for each language, without the identities and with them.

    ``sources`` has an item for each account: the id of its identity source, None where it has none or nobody is shown it.
    """

    sources: tuple[str | None, ...]
    plain: Mapping[Language, bytes]
    with_identities: Mapping[Language, bytes]

    @property
    def total(self) -> int:
        """How many accounts there are."""
        return len(self.sources)

    @property
    def arrays(self) -> list[bytes]:
        """All the arrays, in one order."""
        return [texts[language] for texts in (self.plain, self.with_identities) for language in LANGUAGES]

    def json(self, language: Language, *, identities: bool) -> bytes:
        """The array that was asked for."""
        return (self.with_identities if identities else self.plain)[language]


LINKED: Literal["linked_account.linked"] = "linked_account.linked"
UNLINKED: Literal["linked_account.unlinked"] = "linked_account.unlinked"


@dataclass(frozen=True, slots=True)
class AccountEvent:
    """Something that happened to one of a user's accounts, for those who read the stream of events (docs/events.md).

    It is said once: not if it was what was said last of the account, after ``since``, in epoch seconds; with 0, within an hour.
    """

    name: Literal["linked_account.linked", "linked_account.unlinked"]
    user_id: str
    source_id: str
    provider_type: str | None
    since: float = 0.0
