"""OHTTP (RFC 9458, appendix A) and chunked OHTTP (draft, appendix A), to the byte, both ways.

The files under ``as-published`` are another implementation's. Two of them contradict the texts
they name: it is tested that they do, and in what, so that nobody takes them for the standard.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from lanai.errors import EnvelopeRejected, Rejection
from trust.hpke import AES_128_GCM, HKDF_SHA256, X25519, Suite
from trust.hpke.unsafe_deterministic import UnsafeDeterministicDh
from trust.ohttp import (
    KeyConfiguration,
    RequestOpener,
    RequestSealer,
    open_request,
    open_response,
    seal_request,
    seal_response,
    split_chunk,
    split_message,
)
from trust.ohttp.response import ResponseKeys

BHTTP = "message/bhttp"
PREFIX = 7 + 32


def read(folder: Path, name: str) -> dict[str, Any]:
    [vector] = json.loads((folder / "vectors" / "ohttp" / name).read_text())["vectors"]
    return vector


@pytest.fixture
def whole(data_folder: Path) -> dict[str, Any]:
    return read(data_folder, "rfc9458_appendix_a.json")


@pytest.fixture
def chunked(data_folder: Path) -> dict[str, Any]:
    return read(data_folder, "chunked_ohttp_appendix_a.json")


def bytes_of(vector: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(vector[name])


def configuration(vector: dict[str, Any]) -> KeyConfiguration:
    return KeyConfiguration.parse(bytes_of(vector, "key_config"))


def suite(vector: dict[str, Any]) -> Suite:
    kem = UnsafeDeterministicDh(X25519.kem_id, bytes_of(vector, "client_ephemeral_secret_key"))
    return Suite(kem=kem, kdf=HKDF_SHA256, aead=AES_128_GCM)


def gateway_key(vector: dict[str, Any]) -> Any:
    return X25519.private_key(bytes_of(vector, "gateway_secret_key"))


@pytest.mark.parametrize("name", ["rfc9458_appendix_a.json", "chunked_ohttp_appendix_a.json"])
def test_the_key_configuration_is_the_gateways(data_folder: Path, name: str) -> None:
    """It parses to the gateway's own public key and writes back to the same bytes."""
    vector = read(data_folder, name)
    parsed = configuration(vector)
    assert parsed.public_key == gateway_key(vector).public_key
    assert (parsed.key_id, parsed.kem_id) == (1, 0x20)
    assert parsed.symmetric == ((1, 1), (1, 3))
    assert parsed.to_bytes() == bytes_of(vector, "key_config")


def test_a_whole_request_and_its_response(whole: dict[str, Any]) -> None:
    """Sealing makes the published bytes with the published randomness; both sides open them."""
    request, response = bytes_of(whole, "request"), bytes_of(whole, "response")
    sealed, sender = seal_request(configuration(whole), request, media=BHTTP, suite=suite(whole))
    assert sealed.hex() == whole["encapsulated_request"]
    opened, receiver = open_request(gateway_key(whole), sealed, media=BHTTP)
    assert opened == request
    nonce = bytes_of(whole, "response_nonce")
    answer = seal_response(receiver, response, media=BHTTP, nonce=nonce)
    assert answer.hex() == whole["encapsulated_response"]
    assert open_response(sender, answer, media=BHTTP) == response
    secret = receiver.export(b"message/bhttp response", 16)
    assert secret.hex() == whole["exported_secret"]
    assert HKDF_SHA256.extract(receiver.enc + nonce, secret).hex() == whole["prk"]


def test_a_chunked_request(chunked: dict[str, Any]) -> None:
    """Three chunks, the last empty and marked: sealed to the published bytes, and opened."""
    sealer = RequestSealer(configuration(chunked), media=BHTTP, suite=suite(chunked))
    chunks = chunked["request_chunks"]
    pieces = [sealer.seal(bytes.fromhex(c["plaintext"]), final=c["final"]) for c in chunks]
    message = b"".join(pieces)
    assert message.hex() == chunked["encapsulated_request"]
    assert list(split_message(message, prefix_bytes=PREFIX)) == pieces
    opener = RequestOpener(gateway_key(chunked), pieces[0], media=BHTTP)
    opened = [opener.open(piece) for piece in pieces]
    assert opened == [bytes.fromhex(c["plaintext"]) for c in chunks]
    assert b"".join(opened) == bytes_of(chunked, "request")
    assert opener.ended


def test_a_chunked_response(chunked: dict[str, Any]) -> None:
    """Nonce and three chunks: sealed to the published bytes, and opened by the client."""
    sealer = RequestSealer(configuration(chunked), media=BHTTP, suite=suite(chunked))
    first = sealer.seal(b"x", final=True)
    opener = RequestOpener(gateway_key(chunked), first, media=BHTTP)
    opener.open(first)
    answer = opener.response(bytes_of(chunked, "response_nonce"))
    chunks = chunked["response_chunks"]
    pieces = [answer.seal(bytes.fromhex(c["plaintext"]), final=c["final"]) for c in chunks]
    assert b"".join(pieces).hex() == chunked["encapsulated_response"]
    reader = sealer.response()
    assert [reader.open(piece) for piece in pieces] == [
        bytes.fromhex(c["plaintext"]) for c in chunks
    ]
    assert reader.ended


def test_the_responses_key_and_nonces(chunked: dict[str, Any]) -> None:
    """The exported secret and each chunk's nonce are the published ones."""
    sealer = RequestSealer(configuration(chunked), media=BHTTP, suite=suite(chunked))
    first = sealer.seal(b"x", final=True)
    context = RequestOpener(gateway_key(chunked), first, media=BHTTP)._context
    label, nonce = b"message/bhttp chunked response", bytes_of(chunked, "response_nonce")
    assert context.export(label, 16).hex() == chunked["exported_secret"]
    keys = ResponseKeys.derive(context, label=label, response_nonce=nonce)
    for number, chunk in enumerate(chunked["response_chunks"]):
        assert keys.nonce(number).hex() == chunk["nonce"]


def test_a_cut_chunked_message_has_not_ended(chunked: dict[str, Any]) -> None:
    """Without its final chunk nothing says that the message is whole, and no other chunk may."""
    message = bytes_of(chunked, "encapsulated_request")
    pieces = list(split_message(message, prefix_bytes=PREFIX))
    opener = RequestOpener(gateway_key(chunked), pieces[0], media=BHTTP)
    for piece in pieces[:2]:
        opener.open(piece)
    assert not opener.ended
    opener = RequestOpener(gateway_key(chunked), pieces[0], media=BHTTP)
    opener.open(pieces[0])
    sealed, _ = split_chunk(pieces[1])
    with pytest.raises(EnvelopeRejected) as caught:
        opener.open(b"\x00" + sealed)  # says it is the final one
    assert caught.value.reason is Rejection.DECRYPTION


def test_the_flawed_whole_file_is_not_the_rfc(data_folder: Path, whole: dict[str, Any]) -> None:
    """``rfc9458.json`` names an ephemeral key and a nonce that are not the RFC's; the rest is."""
    published = read(data_folder, "as-published/rfc9458.json")
    assert published["privateKey"] == whole["gateway_secret_key"]
    assert published["request"] == whole["request"]
    assert published["clientEphemeralPrivate"] != whole["client_ephemeral_secret_key"]
    assert published["responseNonce"] != whole["response_nonce"]


def test_the_flawed_chunked_file_is_right_about_ciphertexts(
    data_folder: Path, chunked: dict[str, Any]
) -> None:
    """``chunked-ohttp-08.json``: a stray zero byte in two fields, which are refused or differ;
    its ciphertexts open to the draft's plaintexts, not to those it lists."""
    published = read(data_folder, "as-published/chunked-ohttp-08.json")
    assert published["keyConfig"] == chunked["key_config"] + "00"
    with pytest.raises(EnvelopeRejected) as caught:
        KeyConfiguration.parse(bytes_of(published, "keyConfig"))
    assert caught.value.reason is Rejection.MALFORMED
    assert published["info"] == chunked["info"] + "00"
    assert published["encapsulatedRequest"] == chunked["encapsulated_request"]
    message = bytes_of(published, "encapsulatedRequest")
    pieces = list(split_message(message, prefix_bytes=PREFIX))
    opener = RequestOpener(gateway_key(chunked), pieces[0], media=BHTTP)
    opened = [opener.open(piece).hex() for piece in pieces]
    assert opened == [c["plaintext"] for c in chunked["request_chunks"]]
    assert opened != [c["plaintext"] for c in published["requestChunks"]]


def test_a_javascript_clients_request_opens(data_folder: Path) -> None:
    """``ohttp-js.json``: the gateway's key comes from its seed by DHKEM's ``DeriveKeyPair``."""
    vector = read(data_folder, "as-published/ohttp-js.json")
    kem = X25519.suite_id
    prk = HKDF_SHA256.labeled_extract(kem, b"", b"dkp_prk", bytes_of(vector, "seed"))
    key = X25519.private_key(HKDF_SHA256.labeled_expand(kem, prk, b"sk", b"", 32))
    sealed = bytes_of(vector, "encapsulatedRequest")
    opened, _ = open_request(key, sealed, media=BHTTP)
    assert opened.startswith(b"\x00\x04POST\x05https\x16ietf-wg-ohai.github.io")
