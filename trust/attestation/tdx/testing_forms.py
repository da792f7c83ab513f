"""Intel's forms as the test authority fills them in: statements, enclave report, PCK extension."""

from collections.abc import Mapping
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding

__all__ = [
    "QE_VENDOR",
    "common_name",
    "key_usage",
    "pem",
    "qe_identity",
    "qe_report",
    "raw_signature",
    "sgx_extension",
    "tcb_info",
    "time_text",
]

QE_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_QE_SIGNER = bytes(range(32))
_QE_PRODUCT, _QE_SVN = 2, 4
_FMSPC = bytes.fromhex("90c06f000000")
_CPU_SVN = bytes((3,)) * 16
_PCE_SVN = 13
_SGX = "1.2.840.113741.1.13.1"
_INTEGER, _OCTETS, _ENUMERATED, _SEQUENCE = 0x02, 0x04, 0x0A, 0x30


def tcb_info(least_svn: int, level: Mapping[str, object]) -> dict[str, object]:
    """TCB information, without dates, of one level that asks ``least_svn`` of the TDX module."""
    tcb = {
        "sgxtcbcomponents": [{"svn": svn} for svn in _CPU_SVN],
        "pcesvn": _PCE_SVN,
        "tdxtcbcomponents": [{"svn": svn} for svn in (least_svn, *bytes(15))],
    }
    module = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
    return {
        "id": "TDX",
        "version": 3,
        "fmspc": _FMSPC.hex(),
        "pceId": "0000",
        "tcbType": 0,
        "tdxModule": module,
        "tcbLevels": [{"tcb": tcb, **level}],
    }


def qe_identity(date: str) -> dict[str, object]:
    """The quoting enclave's identity, without dates."""
    level = {"tcb": {"isvsvn": _QE_SVN}, "tcbDate": date, "tcbStatus": "UpToDate"}
    return {
        "id": "TD_QE",
        "version": 2,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11" + "00" * 15,
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": _QE_SIGNER.hex(),
        "isvprodid": _QE_PRODUCT,
        "tcbLevels": [level],
    }


def qe_report(report_data: bytes) -> bytes:
    """An SGX report (384 bytes) of the quoting enclave over 32 bytes."""
    product = _QE_PRODUCT.to_bytes(2, "little") + _QE_SVN.to_bytes(2, "little")
    attributes = bytes.fromhex("1500000000000000e700000000000000")
    return (
        _CPU_SVN + bytes(32) + attributes + bytes(32) + bytes(32) + _QE_SIGNER + bytes(96)
        + product + bytes(60) + report_data.ljust(64, b"\0")
    )  # fmt: skip


def sgx_extension() -> x509.UnrecognizedExtension:
    """What a PCK certificate says of its platform (Intel PCK Certificate specification, 1.3.5)."""
    components = [
        _named(f"2.{index + 1}", _INTEGER, bytes((svn,))) for index, svn in enumerate(_CPU_SVN)
    ]
    components.append(_named("2.17", _INTEGER, bytes((_PCE_SVN,))))
    components.append(_named("2.18", _OCTETS, _CPU_SVN))
    fields = [
        _named("1", _OCTETS, bytes(16)),
        _named("2", _SEQUENCE, b"".join(components)),
        _named("3", _OCTETS, bytes(2)),
        _named("4", _OCTETS, _FMSPC),
        _named("5", _ENUMERATED, b"\1"),
    ]
    value = _der(_SEQUENCE, b"".join(fields))
    return x509.UnrecognizedExtension(x509.ObjectIdentifier(_SGX), value)


def raw_signature(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """An ECDSA signature as two numbers of 32 bytes."""
    numbers = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return b"".join(number.to_bytes(32, "big") for number in numbers)


def pem(*certificates: x509.Certificate) -> bytes:
    """A chain as text."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def time_text(when: float) -> str:
    """A time as Intel writes it."""
    return datetime.fromtimestamp(int(when), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def common_name(name: str) -> x509.Name:
    """A name that has nothing else."""
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def key_usage(*, is_ca: bool) -> x509.KeyUsage:
    """For issuing certificates and revocation lists, or for signing."""
    return x509.KeyUsage(
        digital_signature=not is_ca,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _named(suffix: str, tag: int, value: bytes) -> bytes:
    """A sequence of an identifier below Intel's and its value."""
    return _der(_SEQUENCE, _oid(f"{_SGX}.{suffix}") + _der(tag, value))


def _oid(dotted: str) -> bytes:
    first, second, *others = (int(part) for part in dotted.split("."))
    body = bytes((first * 40 + second,))
    for number in others:
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.append(number & 0x7F | 0x80)
        body += bytes(reversed(groups))
    return _der(0x06, body)


def _der(tag: int, body: bytes) -> bytes:
    size = len(body)
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    length = bytes((size,)) if size < 0x80 else bytes((0x80 | len(digits),)) + digits
    return bytes((tag,)) + length + body
