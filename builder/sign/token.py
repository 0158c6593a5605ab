"""Private keys in PKCS#11 tokens (extra ``pkcs11``): the token makes the signature, the key never leaves it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NoReturn, cast
from urllib.parse import unquote

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from builder.errors import SignError, ToolMissingError

_SCHEME = "pkcs11:"
# DigestInfo of SHA-256 (RFC 8017, 9.2): hashing here keeps a module of 90 MB from travelling through the token.
_SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def is_token(key: str) -> bool:
    """Is this a PKCS#11 URI and not a file?"""
    return key.startswith(_SCHEME)


def token_key(uri: str, pin: bytes, public: object) -> object:
    """The key a URI names (RFC 7512: token, object, id; ``module-path`` in its query), as one of cryptography's.

    ``public`` is the public key of its certificate. Raises SignError when the token or key is not there or the PIN
    is wrong, ToolMissingError without the extra.
    """
    try:
        import pkcs11  # noqa: PLC0415  an extra that few need
    except ImportError as exc:
        raise ToolMissingError(
            "keys in tokens need python-pkcs11", hint="pip install 'repobuild[pkcs11]', or give a PEM file"
        ) from exc
    path, query = _parse(uri)
    where = uri.partition("?")[0]
    try:
        secret = pin.decode() if pin else None
    except UnicodeDecodeError as exc:
        raise SignError(f"{where}: the PIN is not UTF-8 text") from exc
    try:
        token = pkcs11.lib(query["module-path"]).get_token(token_label=path.get("token"))
        try:
            session = token.open(user_pin=secret)
        except pkcs11.UserAlreadyLoggedIn:  # a login is the process's: another signer of this run made it
            session = token.open()
        try:
            key = session.get_key(**_wanted(path))
        except pkcs11.PKCS11Error:
            session.close()
            raise
    except (RuntimeError, OSError) as exc:  # PKCS11Error is a RuntimeError
        raise SignError(
            f"{where}: the token's key cannot be opened: {type(exc).__name__} {exc}".rstrip(),
            hint="check token=, object= and module-path=; the PIN comes from --module-passphrase-fd",
        ) from exc
    if isinstance(public, rsa.RSAPublicKey):
        return _TokenRsa(where, key, public)
    if isinstance(public, ec.EllipticCurvePublicKey):
        return _TokenEc(where, key, public)
    raise SignError(f"{where}: kernels verify RSA and ECDSA signatures of modules, no others")


def _wanted(path: Mapping[str, str]) -> dict[str, Any]:
    import pkcs11  # noqa: PLC0415

    wanted: dict[str, Any] = {"object_class": pkcs11.ObjectClass.PRIVATE_KEY}
    if "object" in path:
        wanted["label"] = path["object"]
    if "id" in path:
        wanted["id"] = path["id"].encode("latin-1")
    return wanted


def _signed(where: str, key: Any, data: bytes, mechanism: str) -> bytes:
    import pkcs11  # noqa: PLC0415

    try:
        return bytes(key.sign(data, mechanism=pkcs11.Mechanism[mechanism]))
    except RuntimeError as exc:
        raise SignError(
            f"{where}: the token does not sign: {type(exc).__name__} {exc}".rstrip(),
            hint="is it the key of this certificate, is the token still there?",
        ) from exc


def _parse(uri: str) -> tuple[dict[str, str], dict[str, str]]:
    head, _, tail = uri.removeprefix(_SCHEME).partition("?")
    rows = [item.partition("=") for item in head.split(";") if item]
    path = {name: unquote(value, encoding="latin-1" if name == "id" else "utf-8") for name, _, value in rows}
    # Not parse_qsl: in these URIs a plus sign is one, also in the path of a library.
    query = {name: unquote(value) for name, _, value in (item.partition("=") for item in tail.split("&") if item)}
    if "pin-value" in query or "pin-value" in path:
        raise SignError("a PIN does not belong into a URI: others see it", hint="hand it over --module-passphrase-fd")
    if "module-path" not in query:
        raise SignError(
            f"{_SCHEME}{head}: says no module-path", hint="append ?module-path=/path/to/the/token's/library.so"
        )
    return path, query


class _TokenKey:
    """A key that stays in its token: what it is, and what it cannot do."""

    def __init__(self, where: str, key: Any, public: Any) -> None:
        self._where = where
        self._token_key = key
        self._public = public

    @property
    def key_size(self) -> int:
        return int(self._public.key_size)

    def public_key(self) -> Any:
        return self._public

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise SignError("a key in a token cannot be taken out of it")

    private_numbers = private_bytes = decrypt = exchange = _refuse

    def __copy__(self) -> NoReturn:
        self._refuse()

    def __deepcopy__(self, memo: object) -> NoReturn:
        self._refuse(memo)


class _TokenRsa(_TokenKey, rsa.RSAPrivateKey):
    def sign(self, data: Any, *_: object) -> bytes:
        """PKCS#1 v1.5 over SHA-256, the only way this project signs."""
        info = _SHA256_INFO + hashlib.sha256(data).digest()
        return _signed(self._where, self._token_key, info, "RSA_PKCS")


class _TokenEc(_TokenKey, ec.EllipticCurvePrivateKey):
    @property
    def curve(self) -> ec.EllipticCurve:
        return cast("ec.EllipticCurve", self._public.curve)

    def sign(self, data: Any, *_: object) -> bytes:
        """ECDSA over SHA-256; a token answers r and s joined."""
        raw = _signed(self._where, self._token_key, hashlib.sha256(data).digest(), "ECDSA")
        half = len(raw) // 2
        return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))
