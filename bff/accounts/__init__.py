"""What a person has linked: the use case, and the rules by which identities become linked accounts."""

from bff.accounts.leak_guard import LeakGuard, contains
from bff.accounts.providers import Catalogue, Language, Providers
from bff.accounts.redaction import tell
from bff.accounts.refusals import Refusals
from bff.accounts.service import Answer, LinkedAccounts, Source

__all__ = [
    "Answer",
    "Catalogue",
    "Language",
    "LeakGuard",
    "LinkedAccounts",
    "Providers",
    "Refusals",
    "Source",
    "contains",
    "tell",
]
