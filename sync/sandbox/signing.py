"""RS256 for the sandbox's webhooks: a key made on first use, and compact JWTs signed with it (RFC 7515, RFC 8017).

For tests on loopback only: the key lives as long as the process and protects nothing.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from functools import cached_property

from sync.sandbox.values import JsonObject, dump_json

PRIME_BITS = 1024
EXPONENT = 65537
MILLER_RABIN_ROUNDS = 12
"""For random candidates of this size far more than enough."""
_SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
"""DigestInfo of SHA-256 (RFC 8017 §9.2, note 1)."""
_RSA_ALGORITHM = bytes.fromhex("300d06092a864886f70d0101010500")
"""AlgorithmIdentifier rsaEncryption with NULL parameters (RFC 3279 §2.3.1)."""


class SigningKey:
    """An RSA key of 2,048 bits."""

    def __init__(self, random_bits: Callable[[int], int] = secrets.randbits) -> None:
        self._random_bits = random_bits

    @cached_property
    def _numbers(self) -> tuple[int, int]:
        """Modulus and private exponent."""
        while True:
            p, q = self._prime(), self._prime()
            phi = (p - 1) * (q - 1)
            if p != q and phi % EXPONENT:
                return p * q, pow(EXPONENT, -1, phi)

    def _prime(self) -> int:
        while True:
            candidate = self._random_bits(PRIME_BITS) | (3 << (PRIME_BITS - 2)) | 1
            if all(candidate % small for small in (3, 5, 7, 11, 13, 17, 19, 23, 29, 31)) and _is_prime(
                candidate, self._random_bits
            ):
                return candidate

    @cached_property
    def public_pem(self) -> str:
        """The public key as an app's dashboard shows it (SubjectPublicKeyInfo, PEM)."""
        modulus, _ = self._numbers
        key = _der(0x30, _der_integer(modulus) + _der_integer(EXPONENT))
        info = _der(0x30, _RSA_ALGORITHM + _der(0x03, b"\0" + key))
        text = base64.encodebytes(info).decode().replace("\n", "")
        lines = "\n".join(text[start : start + 64] for start in range(0, len(text), 64))
        return f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n"

    def sign(self, claims: JsonObject) -> str:
        """A compact JWT of these claims."""
        header = {"alg": "RS256", "typ": "JWT", "kid": "sandbox"}
        signed = f"{_base64url(dump_json(header))}.{_base64url(dump_json(claims))}"
        modulus, private = self._numbers
        size = (modulus.bit_length() + 7) // 8
        digest = _SHA256_INFO + hashlib.sha256(signed.encode()).digest()
        padded = b"\0\1" + b"\xff" * (size - len(digest) - 3) + b"\0" + digest
        signature = pow(int.from_bytes(padded, "big"), private, modulus).to_bytes(size, "big")
        return f"{signed}.{_base64url(signature)}"


def _is_prime(number: int, random_bits: Callable[[int], int]) -> bool:
    """Miller-Rabin."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(MILLER_RABIN_ROUNDS):
        power = pow(2 + random_bits(PRIME_BITS) % (number - 3), odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _der(tag: int, content: bytes) -> bytes:
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + content


def _der_integer(number: int) -> bytes:
    return _der(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))
