"""Every parser that reads bytes from somebody else, one line each.

A new parser joins with a line here: its name, what parses, what makes valid inputs, and what writes
a value back. `test_fuzz_parsers` and the coverage-guided `fuzz_harness` take them from here.
"""

import fuzz_edges as edges
import fuzz_parsers as parsers
import fuzz_seeds as seeds
from fuzz_target import MEBIBYTE, Target

from cloud_node.tree.request import read_request
from trust.attestation import Release
from trust.attestation.tpm2.payload import Tpm2Payload
from trust.bundle import NodeBundle
from trust.certificate import NodeCertificate
from trust.keys import KeyRecord
from trust.log.tiles import decode_entries, encode_entries
from trust.ohttp import KeyConfiguration
from trust.tokens.public_key import load_spki, pss_spki

__all__ = ["CAPTURED", "TARGETS"]

SWTPM = "unsafe_swtpm"
CAPTURED = ("tpm2", "sev_snp", "tdx", "nvidia")
"""Kinds whose samples were captured from hardware: they lie beside the repository."""

TARGETS: tuple[Target, ...] = (
    # the envelope
    Target("header", parsers.header, seeds.headers, parsers.header_bytes, exact=False),
    Target("chunk", parsers.chunk, seeds.chunks, parsers.chunk_bytes, exact=False),
    Target("body-padding", parsers.padded_body, seeds.padded_bodies, parsers.padded),
    Target("answer-frames", parsers.assembled, seeds.plain_frames),
    Target("request-body", read_request, seeds.request_bodies),
    # the outer seal
    Target("outer-request", parsers.outer_request, seeds.outer_requests),
    Target("outer-answer", parsers.outer_answer, seeds.outer_answers),
    Target("outer-pieces", parsers.outer_message, seeds.outer_messages, b"".join),
    Target(
        "key-configuration",
        KeyConfiguration.parse,
        seeds.key_configurations,
        KeyConfiguration.to_bytes,
    ),
    # the parties' edges, where the frames come in
    Target("gateway-exchange", edges.gateway_exchange, seeds.exchanges, refused=True),
    Target("gateway-pieces", edges.gateway_pieces, seeds.outer_requests, refused=True),
    Target("launcher-line", edges.launcher_line, seeds.launcher_lines),
    Target("gateway-fetch", edges.gateway_fetch, seeds.fetches),
    Target("gateway-announcement", edges.announcement, seeds.announcements),
    Target("node-infer", edges.node_infer, seeds.infers),
    Target("device-roster", edges.device_roster, seeds.rosters),
    Target("device-answer", edges.device_answer, seeds.answers),
    Target("device-message", edges.device_message, seeds.answer_messages),
    Target("issuer-issue", edges.issuer_issue, seeds.issues),
    Target("witness-cosign", edges.witness_cosign, seeds.witness_questions),
    Target("log-questions", edges.log_questions, seeds.log_questions),
    # what a node shows
    Target("bundle", NodeBundle.parse, seeds.bundles, NodeBundle.serialize),
    Target("key-record", KeyRecord.parse, seeds.key_records, KeyRecord.canonical),
    Target("logged-keys", parsers.logged_keys, seeds.logged_keys),
    Target("release", Release.parse, seeds.releases, Release.canonical),
    Target("certificate", NodeCertificate.parse, seeds.certificates),
    Target("tpm2-payload", Tpm2Payload.parse, seeds.evidence(SWTPM), Tpm2Payload.serialize),
    Target("unsafe-swtpm", parsers.evidence(SWTPM), seeds.evidence(SWTPM)),
    *(
        Target(kind, parsers.evidence(kind), seeds.evidence(kind), memory=32 * MEBIBYTE)
        for kind in CAPTURED
        if seeds.DATA.is_dir()
    ),
    Target("unsafe-software", parsers.unsafe_software, seeds.statements),
    # the log
    Target("note", parsers.note, seeds.notes),
    Target("checkpoint", parsers.checkpoint, seeds.checkpoints, parsers.checkpoint_bytes),
    Target("vkey", parsers.vkey, seeds.vkeys, parsers.vkey_bytes),
    Target("proof-file", parsers.proof_file, seeds.proofs, parsers.proof_bytes, exact=False),
    Target("entries", decode_entries, seeds.entries, encode_entries),
    Target("tiles", parsers.tile_tree, seeds.tiles),
    Target("witness-state", parsers.witness_state, seeds.witness_states),
    # tokens
    Target("token", parsers.token, seeds.tokens),
    Target("issuer-key", load_spki, seeds.spkis, pss_spki),
    Target("issued", parsers.issued, seeds.signatures),
    # the trust root, and what is public
    Target("tuf-root", parsers.tuf_root, seeds.tuf_roots),
    Target("tuf-timestamp", parsers.tuf_timestamp, seeds.tuf_timestamps),
    Target("public-path", parsers.public_path, seeds.public_paths),
    Target("trust-root", parsers.trust_root, seeds.roots, parsers.root_bytes, exact=False),
)
