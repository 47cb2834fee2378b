"""What a person has linked: the use case, and the rules by which identities become linked accounts."""

from bff.accounts.inclusions import Inclusions, Part
from bff.accounts.leak_guard import LeakGuard, contains
from bff.accounts.link_flow import LINK_SECONDS, LinkFlow
from bff.accounts.providers import Providers
from bff.accounts.redaction import redact, redact_linkable, report
from bff.accounts.refusals import Refusals
from bff.accounts.security_facts import HINT_SECONDS, SecurityFacts
from bff.accounts.service import Answer, LinkedAccounts, Source

__all__ = [
    "HINT_SECONDS",
    "LINK_SECONDS",
    "Answer",
    "Inclusions",
    "LeakGuard",
    "LinkFlow",
    "LinkedAccounts",
    "Part",
    "Providers",
    "Refusals",
    "SecurityFacts",
    "Source",
    "contains",
    "redact",
    "redact_linkable",
    "report",
]
