"""Cache values at rest: bound to their key, and with ``CACHE_SECRET`` encrypted and authenticated.

A value that was moved to another person's key, altered, or encoded by somebody else cannot be decoded: it is a miss. An older
value of the same key can; it carries its own times (`values`), so it ends when it would have. Keys hold no blanks and no tildes.
"""

import hashlib
import os
import zlib
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bff.observability import Recorder

# GenAuth's answer may be 1 MiB, and is stored in four forms; what is larger is not ours.
_LARGEST = 4 * 1024 * 1024
_LARGEST_STORED = 2 * 1024 * 1024
# What nearly every value has in it. Part of the format: with another one, what was stored before is a miss.
_USUAL = (
    '[1700000000.000,1700000060.000,["62f2093","62f2093"]]\n"union_id","user_id","open_id","generic","enterprise","oidc","saml","dingtalk","钉钉",'
    '"wechatwork","WeCom","企业微信","gitee","Gitee","weibo","Weibo","微博","qq","QQ","lark","Lark","飞书","google","Google",'
    '"apple","Apple","logoUrl":null},"email":"•••@gmail.com","https://lh3.googleusercontent.com/a/",'
    '"https://thirdwx.qlogo.cn/mmopen/vi_32/","https://avatars.githubusercontent.com/u/",'
    '[{"id":"62f2093","provider":{"type":"github","name":"GitHub","category":"social","logoUrl":"https://files."},'
    '"displayName":"","email":null,"avatarUrl":null,"identityTypes":["openid","primary"],"identities":[{"id":"62f2093",'
    '"type":"openid","subject":"","connectionIds":["62f2093"]},{"id":"62f2093","type":"primary","subject":"","connectionIds":'
    '["62f2093"]}]},{"id":"62f2093","provider":{"type":"wechat","name":"WeChat","微信","category":"social","logoUrl":'
    '"https://files."},"displayName":"","email":null,"avatarUrl":"https://","identityTypes":["openid","unionid"],'
    '"identities":[{"id":"62f2093","type":"openid","subject":"o","connectionIds":["62f2093"]},'
    '{"id":"62f2093","type":"unionid","subject":"o","connectionIds":["62f2093"]}]}]\n'
).encode()
# 8 KiB, in which the four forms of a usual person's accounts repeat one another. Memory for zlib's largest window would be taken
# from the system and given back each time.
_WINDOW_BITS = 13
_READABLE = 128  # bytes; what is no longer can be looked at, and would lose next to nothing
_ID_BYTES = 12  # 96 bits: that two of 10^9 ids are the same has a probability of 10^-11; Redis holds each up to four times
_NONCE_BYTES = 12  # NIST SP 800-38D 8.2: 96 bits, random


class Codec(Protocol):
    """How a value is written under a key, and read back."""

    def opaque_id(self, *parts: str) -> str:
        """The same for the same parts, from which nobody can tell what they were."""

    def encode(self, key: str, value: bytes) -> bytes:
        """``value`` as it is stored under ``key``."""

    def decode(self, key: str, stored: bytes) -> bytes | None:
        """The value that was encoded under this key, or None."""


def decoded(codec: Codec, key: str, stored: bytes | None, recorder: Recorder) -> bytes | None:
    """The value stored under ``key``, if there is one and it is ours; one that is not is counted as rejected."""
    if stored is None:
        return None
    if len(stored) > _LARGEST_STORED:
        recorder.cache_rejected("oversized")
        return None
    value = codec.decode(key, stored)
    if value is None:
        recorder.cache_rejected("foreign")
    return value


class PlainCodec:
    """The value after its key, so that a swapped value is noticed; deflated if it is long, to save memory of Redis."""

    def opaque_id(self, *parts: str) -> str:
        """See `Codec`."""
        return _digest(parts, key=b"")

    def encode(self, key: str, value: bytes) -> bytes:
        """The key, a blank, the value; or the key, a tilde, the value deflated."""
        if len(value) <= _READABLE:
            return b"%b %b" % (key.encode(), value)
        return b"%b~%b" % (key.encode(), _deflated(value))

    def decode(self, key: str, stored: bytes) -> bytes | None:
        """What follows the key, if it is this one."""
        bound = key.encode()
        if not stored.startswith(bound):
            return None
        mark, value = stored[len(bound) : len(bound) + 1], stored[len(bound) + 1 :]
        if mark == b" ":
            return value
        return _inflated(value) if mark == b"~" else None


class EncryptedCodec:
    """AES-256-GCM with the key as associated data. The first secret encrypts, all decrypt: put a new one in front to rotate.

    Opaque ids are keyed with the *last* secret, so that adding one in front keeps the cache warm.
    """

    def __init__(self, secrets: Sequence[tuple[str, bytes]]) -> None:
        """``secrets``: (key id, 32 bytes) pairs, the newest first."""
        self._key_id = secrets[0][0]
        self._ciphers = {key_id: AESGCM(secret) for key_id, secret in secrets}
        self._id_key = hashlib.blake2b(b"linked-accounts names", key=secrets[-1][1], digest_size=32).digest()

    def opaque_id(self, *parts: str) -> str:
        """See `Codec`."""
        return _digest(parts, key=self._id_key)

    def encode(self, key: str, value: bytes) -> bytes:
        """Key id, nonce and the ciphertext of the value deflated."""
        value = _deflated(value)
        nonce = os.urandom(_NONCE_BYTES)
        return b"%b %b%b" % (self._key_id.encode(), nonce, self._ciphers[self._key_id].encrypt(nonce, value, key.encode()))

    def decode(self, key: str, stored: bytes) -> bytes | None:
        """What was encrypted with a secret of ours under this key, and not altered."""
        key_id, _, encrypted = stored.partition(b" ")
        cipher = self._ciphers.get(key_id.decode("ascii", "replace"))
        if cipher is None:
            return None
        try:
            return _inflated(cipher.decrypt(encrypted[:_NONCE_BYTES], encrypted[_NONCE_BYTES:], key.encode()))
        except (InvalidTag, ValueError):
            return None


def _deflated(value: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-_WINDOW_BITS, zdict=_USUAL)
    return deflate.compress(value) + deflate.flush()


def _inflated(value: bytes) -> bytes | None:
    """The whole of what was deflated, and no more than we would have written."""
    inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS, zdict=_USUAL)  # whatever the window was
    try:
        whole = inflate.decompress(value, _LARGEST)
    except zlib.error:
        return None
    return whole if inflate.eof and not inflate.unused_data else None


def _digest(parts: Sequence[str], *, key: bytes) -> str:
    # Lengths first: ("ab", "c") and ("a", "bc") are different people.
    framed = b"".join([b"%d:%b" % (len(part), part) for part in map(str.encode, parts)])
    return urlsafe_b64encode(hashlib.blake2b(framed, key=key, digest_size=_ID_BYTES).digest()).decode()
