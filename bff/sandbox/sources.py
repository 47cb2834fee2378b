"""The identity sources of the sandbox's application, and how get-application-enabled-extidps lists them."""

from dataclasses import dataclass
from urllib.parse import urlencode


@dataclass(frozen=True, slots=True)
class Connection:
    """One way into a source. A source may have several; they share its ``extIdpId``."""

    id: str
    identifier: str


@dataclass(frozen=True, slots=True)
class Source:
    """An identity source: what people link, and what unlinking takes the id of."""

    id: str
    provider: str
    category: str
    name: str
    english: str
    connections: tuple[Connection, ...]
    logo: str | None = None


def _source(number: int, provider: str, category: str, name: str, english: str, *identifiers: str, logo: bool = True) -> Source:
    connections = tuple(
        Connection(f"62f2093244fa5cb1{number:02x}{position:02x}1ed3", identifier)
        for position, identifier in enumerate(identifiers)
    )
    picture = f"https://files.genauth.example/identity-sources/{provider}.svg" if logo else None
    return Source(f"62f209327ab3cc10d9{number:02x}6ee5", provider, category, name, english, connections, picture)


WECHAT = _source(1, "wechat", "social", "微信", "WeChat", "my-wechat-pc", "my-wechat-mobile")
LARK = _source(2, "lark", "enterprise", "飞书", "Lark", "my-lark")
GOOGLE = _source(3, "google", "social", "谷歌", "Google", "my-google")
GITHUB = _source(4, "github", "social", "GitHub", "GitHub", "my-github")
GITEE = _source(5, "gitee", "social", "Gitee 社区", "Gitee Community", "my-gitee")
GITEE_COMPANY = _source(6, "gitee", "enterprise", "Gitee 企业版", "Gitee Enterprise", "my-gitee-company")
# Offered by the application, linked by nobody. LinkedIn shows that a logo is optional.
QQ = _source(7, "qq", "social", "QQ", "QQ", "my-qq")
LINKEDIN = _source(8, "linkedin", "social", "领英", "LinkedIn", "my-linkedin", logo=False)
# A directory has no page to go to: its bindUrl leads nowhere.
DIRECTORY = _source(9, "ldap", "enterprise", "公司目录", "Company Directory", "my-directory", logo=False)

ENABLED = (WECHAT, LARK, GOOGLE, GITHUB, GITEE, GITEE_COMPANY, QQ, LINKEDIN, DIRECTORY)
BY_CONNECTION = {connection.identifier: source for source in ENABLED for connection in source.connections}


def named(name: str) -> Source:
    """The source with that id, or with a connection of that identifier; `KeyError` for an unknown one."""
    for source in ENABLED:
        if name == source.id or name in (connection.identifier for connection in source.connections):
            return source
    raise KeyError(f"no source has the id or the connection {name!r}: there are {', '.join(BY_CONNECTION)}")


def enabled(base_url: str, app_id: str) -> list[dict[str, str]]:
    """ExtIdpInfoDto, one for each *connection* (docs/genauth.md 3)."""
    return [_info(source, connection, base_url, app_id) for source in ENABLED for connection in source.connections]


def _info(source: Source, connection: Connection, base_url: str, app_id: str) -> dict[str, str]:
    query = urlencode({"ext_idp_conn_identifier": connection.identifier, "app_id": app_id})
    info = {
        "identifier": connection.identifier,
        "extIdpId": source.id,
        "type": source.provider,
        "extIdpType": source.category,
        "bindUrl": f"{base_url}/api/v3/link-extidp?{query}",
        "name": source.name,
        "name_en": source.english,
        "desc": f"用{source.name}登录",
        "desc_en": f"Sign in with {source.english}",
    }
    if source.logo:
        info["logo"] = source.logo
    return info
