"""A keyholder's confinement leaves it its TPM and its attestation CA, and no other network."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cloud_node.node.config import NodeConfig
from cloud_node.node.evidence import EvidenceConfig
from cloud_node.tpm import TpmAddress, TpmConfig
from trust.attestation.evidence import Evidence
from trust.testing import unsafe_release

# The name conftest gives to its part, for types only.
RunningCa = Any

BOUND = bytes([7]) * 32
SCRIPT = """
import json, os, socket, sys
from cloud_node.node.config import NodeConfig
from cloud_node.node.evidence import attesters_of
from cloud_node.tree.confinements import keyholder_confinement
from lanai.confinement import confine
from trust.testing import unsafe_release

config = NodeConfig.model_validate_json(sys.argv[1])
(attester,) = attesters_of(config.evidence, unsafe_release())
missing = sorted(confine(keyholder_confinement(config), keep=[1, 2]).missing)
evidence = [attester.attest(bytes([number]) * 32) for number in (7, 8, 7)][0]
refused = []
for port in json.loads(sys.argv[2]):
    try:
        socket.create_connection(("127.0.0.1", port))
    except PermissionError:
        refused.append(port)
told = {"missing": missing, "kind": evidence.kind, "payload": evidence.payload.hex()}
os.write(1, json.dumps(told | {"refused": refused}).encode())
os._exit(0)
"""


def node_config(swtpm: TpmAddress, ca: RunningCa, folder: Path) -> NodeConfig:
    tpm = TpmConfig(
        unsafe_swtpm_socket=swtpm.path, authority=ca.endpoint, event_file=folder / "log" / "events"
    )
    (folder / "log").mkdir()
    return NodeConfig(
        name="node-0",
        profile="development",
        store_url="",
        log=ca.endpoint,
        model_folder="/nowhere",
        model_name="tiny",
        context_tokens=64,
        threads=1,
        evidence=EvidenceConfig(tpm=tpm),
    )


def test_evidence_is_made_in_confinement(swtpm: TpmAddress, ca: RunningCa, tmp_path: Path) -> None:
    """Enrolled, quoted and verified with everything held; another port is refused."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        config = node_config(swtpm, ca, tmp_path).model_dump_json()
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, config, json.dumps([port])],
            capture_output=True,
            check=True,
            env=dict(os.environ) | {"OPENBLAS_NUM_THREADS": "1"},
        )
    told = json.loads(done.stdout)
    assert told["missing"] == []
    assert told["refused"] == [port]
    evidence = Evidence(kind=told["kind"], payload=bytes.fromhex(told["payload"]))
    verifier = ca.policy.verifier()
    claims = verifier.verify(evidence, report_data=BOUND, now=time.time())
    assert dict(claims.measurements)["software"] == unsafe_release().software
