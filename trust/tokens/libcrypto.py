"""The raw RSA private operation by OpenSSL's libcrypto.

`cryptography` offers no raw RSA, and Python's integers leak time. libcrypto computes in constant
time, with CRT and its own base blinding; the result is checked before anyone sees it, since one
faulty CRT result would give the key away.
"""

import ctypes
from functools import cache
from weakref import finalize

from lanai.errors import ConfigError, Rejection, TokenRejected

__all__ = ["RawPrivateKey"]

NAMES = ("libcrypto.so.3", "libcrypto.3.dylib", "libcrypto.so")
RSA_NO_PADDING = 3


class RawPrivateKey:
    """An RSA private key that computes ``message ** d mod n`` and nothing else."""

    __slots__ = ("__weakref__", "_exponent", "_handle", "_library", "_modulus", "size")

    def __init__(self, pkcs8: bytes, *, modulus: int, exponent: int) -> None:
        """``pkcs8`` is DER; ``modulus`` and ``exponent`` are its public half.

        Raises ``ConfigError`` without libcrypto 3, ``TokenRejected`` (``MALFORMED``) for a bad key.
        """
        self._library = _load()
        self._modulus, self._exponent = modulus, exponent
        self.size = (modulus.bit_length() + 7) // 8
        """Bytes of modulus, message and signature."""
        start = ctypes.c_char_p(pkcs8)
        self._handle = self._library.d2i_AutoPrivateKey(None, ctypes.byref(start), len(pkcs8))
        if not self._handle:
            raise _rejected("not a private key")
        finalize(self, self._library.EVP_PKEY_free, self._handle)

    def accepts(self, message: bytes) -> bool:
        """Whether the message has the modulus's size and is below it."""
        return len(message) == self.size and int.from_bytes(message, "big") < self._modulus

    def apply(self, message: bytes) -> bytes:
        """``RSASP1`` (RFC 8017, section 5.2.1). Raises ``TokenRejected`` (``MALFORMED``)."""
        if not self.accepts(message):
            raise _rejected("a blinded message out of range")
        value, result = int.from_bytes(message, "big"), self._decrypt(message)
        if pow(int.from_bytes(result, "big"), self._exponent, self._modulus) != value:
            raise _rejected("the private operation failed its check")
        return result

    def _decrypt(self, message: bytes) -> bytes:
        library = self._library
        context = library.EVP_PKEY_CTX_new(self._handle, None)
        result, size = ctypes.create_string_buffer(self.size), ctypes.c_size_t(self.size)
        try:
            done = (
                library.EVP_PKEY_decrypt_init(context) > 0
                and library.EVP_PKEY_CTX_set_rsa_padding(context, RSA_NO_PADDING) > 0
                and library.EVP_PKEY_decrypt(
                    context, result, ctypes.byref(size), message, len(message)
                )
                > 0
            )
        finally:
            library.EVP_PKEY_CTX_free(context)
        if not done or size.value != self.size:
            raise _rejected("the private operation failed")
        return result.raw

    def __repr__(self) -> str:
        return f"RawPrivateKey({8 * self.size} bits)"


@cache
def _load() -> ctypes.CDLL:
    for name in NAMES:
        try:
            return _declared(ctypes.CDLL(name))
        except (OSError, AttributeError):
            continue
    raise ConfigError("no libcrypto of OpenSSL 3 found", hint="install OpenSSL 3 (libssl3)")


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    signatures = {
        "d2i_AutoPrivateKey": (pointer, [pointer, ctypes.POINTER(text), ctypes.c_long]),
        "EVP_PKEY_free": (None, [pointer]),
        "EVP_PKEY_CTX_new": (pointer, [pointer, pointer]),
        "EVP_PKEY_CTX_free": (None, [pointer]),
        "EVP_PKEY_CTX_set_rsa_padding": (ctypes.c_int, [pointer, ctypes.c_int]),
        "EVP_PKEY_decrypt_init": (ctypes.c_int, [pointer]),
        "EVP_PKEY_decrypt": (
            ctypes.c_int,
            [pointer, text, ctypes.POINTER(size), text, size],
        ),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _rejected(message: str) -> TokenRejected:
    return TokenRejected(
        message, reason=Rejection.MALFORMED, hint="check the issuer's key and the request"
    )
