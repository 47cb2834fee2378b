"""What a person has linked: the use case, and the rules by which identities become linked accounts."""

from bff.accounts.inclusions import Inclusions, Part
from bff.accounts.leak_guard import LeakGuard, contains
from bff.accounts.link_flow import LINK_SECONDS, LinkFlow
from bff.accounts.provider_names import REVOKE_URLS
from bff.accounts.providers import Providers
from bff.accounts.redaction import redact, redact_linkable, report
from bff.accounts.refusals import Refusals
from bff.accounts.security_facts import HINT_SECONDS, SecurityFacts
from bff.accounts.service import Answer, LinkedAccounts, Source
from bff.accounts.unlinking import NotLinkedHere, Unlinked, Unlinking

__all__ = [
    "HINT_SECONDS",
    "LINK_SECONDS",
    "REVOKE_URLS",
    "Answer",
    "Inclusions",
    "LeakGuard",
    "LinkFlow",
    "LinkedAccounts",
    "NotLinkedHere",
    "Part",
    "Providers",
    "Refusals",
    "SecurityFacts",
    "Source",
    "Unlinked",
    "Unlinking",
    "contains",
    "redact",
    "redact_linkable",
    "report",
]
