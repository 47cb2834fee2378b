"""What GenAuth's provider types are called, for when the application's own list is not at hand (docs/genauth.md 2.5).

Names are brands; a type that is not here is served under its own name. Categories follow GenAuth's two kinds of identity source.
"""

from typing import NamedTuple


class ProviderName(NamedTuple):
    """A provider's names and its ``category``: social, enterprise, or None where GenAuth's documentation leaves it open."""

    en: str
    zh: str
    category: str | None


# Where a person withdraws, at the provider itself, what they permitted this application; only pages that are the same for all.
REVOKE_URLS = {
    "apple": "https://account.apple.com/account/manage",
    "facebook": "https://www.facebook.com/settings?tab=applications",
    "github": "https://github.com/settings/applications",
    "google": "https://myaccount.google.com/connections",
    "instagram": "https://www.instagram.com/accounts/manage_access/",
    "linkedin": "https://www.linkedin.com/psettings/permitted-services",
    "twitter": "https://x.com/settings/connected_apps",
}
PROVIDER_NAMES = {
    "wechat": ProviderName("WeChat", "微信", "social"),
    "qq": ProviderName("QQ", "QQ", "social"),
    "weibo": ProviderName("Weibo", "微博", "social"),
    "github": ProviderName("GitHub", "GitHub", "social"),
    "alipay": ProviderName("Alipay", "支付宝", "social"),
    "baidu": ProviderName("Baidu", "百度", "social"),
    "google": ProviderName("Google", "Google", "social"),
    "gitlab": ProviderName("GitLab", "GitLab", "social"),
    "gitee": ProviderName("Gitee", "Gitee", "social"),
    "twitter": ProviderName("Twitter", "Twitter", "social"),
    "facebook": ProviderName("Facebook", "Facebook", "social"),
    "slack": ProviderName("Slack", "Slack", "social"),
    "linkedin": ProviderName("LinkedIn", "领英", "social"),
    "instagram": ProviderName("Instagram", "Instagram", "social"),
    "apple": ProviderName("Apple", "Apple", "social"),
    "yidun": ProviderName("NetEase Yidun", "网易易盾", "social"),
    "qingcloud": ProviderName("QingCloud", "青云", "social"),
    "huawei": ProviderName("Huawei", "华为", "social"),
    "honor": ProviderName("Honor", "荣耀", "social"),
    "xiaomi": ProviderName("Xiaomi", "小米", "social"),
    "oppo": ProviderName("OPPO", "OPPO", "social"),
    "aws": ProviderName("AWS", "AWS", "social"),
    "amazon": ProviderName("Amazon", "亚马逊", "social"),
    "douyin": ProviderName("Douyin", "抖音", "social"),
    "kuaishou": ProviderName("Kuaishou", "快手", "social"),
    "line": ProviderName("LINE", "LINE", "social"),
    "wechatwork": ProviderName("WeCom", "企业微信", "enterprise"),
    "dingtalk": ProviderName("DingTalk", "钉钉", "enterprise"),
    "lark": ProviderName("Lark", "飞书", "enterprise"),
    "welink": ProviderName("WeLink", "WeLink", "enterprise"),
    "oidc": ProviderName("OIDC", "OIDC", "enterprise"),
    "oauth2": ProviderName("OAuth 2.0", "OAuth 2.0", "enterprise"),
    "saml": ProviderName("SAML", "SAML", "enterprise"),
    "ldap": ProviderName("LDAP", "LDAP", "enterprise"),
    "ad": ProviderName("Active Directory", "Active Directory", "enterprise"),
    "cas": ProviderName("CAS", "CAS", "enterprise"),
    "azure-ad": ProviderName("Azure AD", "Azure AD", "enterprise"),
}
