"""TLS identities: what they show, what they sign, and what a pinned channel accepts."""

import asyncio
import datetime
import socket
import ssl

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from cloud_node.identity import (
    TLS_NAME,
    TlsIdentity,
    certificate_pem,
    open_channel,
    server_credentials,
    signed_by_certificate,
    spki_sha256,
)
from cloud_node.service import start_grpc
from lanai.errors import ConfigError
from trust.certificate import NodeCertificate


def test_a_certificate_is_short_lived_p256_for_one_name() -> None:
    """P-256, one name, no authority, valid for the lifetime asked and a little before now."""
    now = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    identity = TlsIdentity.generate("node-0", lifetime_s=3600, now=now)
    certificate = x509.load_pem_x509_certificate(identity.certificate_pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [TLS_NAME]
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.not_valid_before_utc == now - datetime.timedelta(minutes=5)
    assert certificate.not_valid_after_utc == now + datetime.timedelta(hours=1)


def test_trust_reads_the_same_certificate() -> None:
    """The device's parser accepts it and finds the same key."""
    identity = TlsIdentity.generate("node-0")
    assert NodeCertificate.parse(identity.certificate_der).spki_sha256 == identity.spki_sha256
    assert spki_sha256(identity.certificate_der) == identity.spki_sha256
    assert certificate_pem(identity.certificate_der) == identity.certificate_pem


def test_signatures_are_of_this_key_and_these_bytes() -> None:
    """Another key, other bytes and noise do not verify."""
    one, other = TlsIdentity.generate("a"), TlsIdentity.generate("b")
    signature = one.sign(b"said")
    assert signed_by_certificate(one.certificate_der, signature, b"said")
    assert not signed_by_certificate(other.certificate_der, signature, b"said")
    assert not signed_by_certificate(one.certificate_der, signature, b"Said")
    assert not signed_by_certificate(one.certificate_der, b"noise", b"said")
    assert not signed_by_certificate(b"noise", signature, b"said")


def test_the_private_key_is_not_shown() -> None:
    """``repr`` has no private key in it."""
    assert "PRIVATE" not in repr(TlsIdentity.generate("a"))


def test_files_are_read_back_together() -> None:
    """A key that does not belong to the certificate is refused, and so is noise."""
    one, other = TlsIdentity.generate("a"), TlsIdentity.generate("b")
    assert TlsIdentity.from_pem(one.private_key_pem, one.certificate_pem) == one
    for key, certificate in (
        (other.private_key_pem, one.certificate_pem),
        (b"noise", one.certificate_pem),
        (one.private_key_pem, b"noise"),
    ):
        with pytest.raises(ConfigError):
            TlsIdentity.from_pem(key, certificate)


async def served(identity: TlsIdentity) -> tuple[grpc.aio.Server, str]:
    async def echo(request: bytes, _context: object) -> bytes:
        return request

    handler = grpc.method_handlers_generic_handler(
        "t", {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    )
    return await start_grpc(
        lambda server: server.add_generic_rpc_handlers((handler,)), server_credentials(identity)
    )


async def call(address: str, pinned: bytes) -> bytes:
    async with open_channel(address, pinned) as channel:
        return bytes(await channel.unary_unary("/t/Echo")(b"x", timeout=60))


async def test_a_channel_trusts_one_certificate() -> None:
    """The pinned certificate is spoken to; any other, for the same name, is not."""
    identity = TlsIdentity.generate("a")
    server, address = await served(identity)
    assert await call(address, identity.certificate_pem) == b"x"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(address, TlsIdentity.generate("a").certificate_pem)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    await server.stop(None)


async def test_tls_1_3_is_what_is_spoken() -> None:
    """A client that may choose ends up with TLS 1.3."""
    identity = TlsIdentity.generate("a")
    server, address = await served(identity)
    host, _, port = address.rpartition(":")

    def version() -> str | None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=identity.certificate_pem.decode())
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((host, int(port)), timeout=60) as plain,
            context.wrap_socket(plain, server_hostname=TLS_NAME) as secure,
        ):
            return secure.version()

    assert await asyncio.to_thread(version) == "TLSv1.3"
    await server.stop(None)


async def test_a_taken_port_is_a_configuration_error() -> None:
    """Two servers do not share a port by accident."""
    identity = TlsIdentity.generate("a")
    server, address = await served(identity)
    with pytest.raises(ConfigError):
        await start_grpc(
            lambda server: None,
            server_credentials(identity),
            port=int(address.rpartition(":")[2]),
        )
    await server.stop(None)
