"""The configuration of every process of a one-host development cluster, from one set of keys."""

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Final

from cloud_node.cluster.isolation import Isolation
from cloud_node.cluster.keys import KEY_LIFETIME_S, fresh_identities, standing_keys
from cloud_node.cluster.layout import ClusterLayout
from cloud_node.cluster.ownership import hand_over
from cloud_node.cluster.plan import ClusterPlan
from cloud_node.cluster.ports import free_port
from cloud_node.cluster.processes import write_private
from cloud_node.cluster.trust import trust_keys, trust_tree
from cloud_node.cluster.unsafe_swtpm import UnsafeSwtpm
from cloud_node.gateway.process import GatewayConfig
from cloud_node.issuer import AccountBook, IssuerConfig
from cloud_node.keyfiles import kept_key, read_key, write_secret
from cloud_node.launcher_config import LauncherConfig
from cloud_node.listening import ListenConfig
from cloud_node.log_service import LogConfig
from cloud_node.node.config import NodeConfig
from cloud_node.node.evidence import EvidenceConfig
from cloud_node.processors import engine_processors
from cloud_node.publishing import WitnessEndpoint
from cloud_node.relay import RelayConfig
from cloud_node.service import PinnedEndpoint
from cloud_node.store.config import StoreConfig
from cloud_node.store.embedded import store_url
from cloud_node.store.roles import Passwords, Role
from cloud_node.trust_refresh import TrustRefresh
from cloud_node.witness import WitnessConfig, create_state
from trust.attestation import AllOf, EvidencePolicy, One, UnsafeSoftwarePolicy
from trust.keys import KeyRecord
from trust.log.notes import NoteSigner
from trust.log.transparency_log import TransparencyLog
from trust.root import Endpoint, TrustRoot
from trust.tokens import token_challenge

__all__ = ["Recipes"]

LOG_NOTE: Final = "log-note.pem"
WITNESS_NOTE: Final = "witness-note.pem"
SOFTWARE: Final = "software.pem"
SERVED: Final = ("relay", "gateway", "issuer", "log", "witness")
DAILY_TOKENS: Final = 100_000
CHECKPOINT_MAX_AGE_S: Final = 3600
NODE_MAX_LIFETIME_S: Final = 24 * 3600
DRAIN_S: Final = 5.0
KEPT: Final = (LOG_NOTE, WITNESS_NOTE, SOFTWARE)
"""Keys that stay with what they signed: the log, the witness's memory, published releases."""


@dataclass(slots=True, kw_only=True)
class Recipes:
    """Keys of one `up`, and what each process is told. ``prepare`` makes it."""

    layout: ClusterLayout
    plan: ClusterPlan
    origin: str
    certificates: dict[str, str]
    keys: tuple[KeyRecord, ...]
    """Of issuer and gateway: to be leaves of the log."""
    challenge: bytes
    """What tokens answer; another one with every `up`."""
    static_port: int
    tpm: UnsafeSwtpm | None
    """None where no software TPM is installed."""
    isolation: Isolation
    passwords: Passwords = field(repr=False)
    operator: bytes = field(repr=False)
    """Credential for appending to the log, another one with every `up`."""

    @classmethod
    def prepare(cls, layout: ClusterLayout, plan: ClusterPlan) -> "Recipes":
        """Make folders and keys, and begin what must exist before it is opened."""
        layout.create()
        for name in KEPT:
            kept_key(layout.key(name))
        origin = _origin(layout, plan)
        recipes = cls(
            layout=layout,
            plan=plan,
            origin=origin,
            certificates=fresh_identities(layout.folder / "keys", SERVED),
            keys=standing_keys(layout),
            challenge=token_challenge(origin, context=secrets.token_bytes(32)),
            static_port=free_port(),
            tpm=UnsafeSwtpm.installed(layout),
            isolation=Isolation.of(layout),
            passwords=Passwords.generate(),
            operator=secrets.token_bytes(32),
        )
        write_secret(layout.operator, recipes.operator)
        create_state(recipes.witness())
        recipes._create_log()
        recipes._create_account()
        hand_over(layout, recipes.isolation)
        return recipes

    def store(self) -> StoreConfig:
        return StoreConfig(
            folder=str(self.layout.own("store")),
            socket=str(self.layout.socket("store")),
            shared=self.isolation.separate,
            passwords=dict(self.passwords.of),
        )

    def witness(self) -> WitnessConfig:
        return WitnessConfig(
            listen=self._listen("witness"),
            name=f"{self.origin}-witness",
            signing_key=self.layout.key(WITNESS_NOTE),
            state=self.layout.witness_memory,
            logs={self.origin: self._log_signer.vkey},
        )

    def issuer(self) -> IssuerConfig:
        return IssuerConfig(
            listen=self._listen("issuer"),
            keys=self.layout.ring("issuer").folder,
            accounts=self.layout.accounts,
        )

    def log(self, witness: PinnedEndpoint) -> LogConfig:
        endpoint = WitnessEndpoint(
            address=witness.address, certificate=witness.certificate, vkey=self._witness_vkey
        )
        return LogConfig(
            listen=self._listen("log"),
            origin=self.origin,
            signing_key=self.layout.key(LOG_NOTE),
            public=self.layout.public,
            http_port=self.static_port,
            credential_sha256=hashlib.sha256(self.operator).hexdigest(),
            witnesses=[endpoint],
            quorum=1,
            trust=TrustRefresh(tree=trust_tree(self.layout), keys=trust_keys(self.layout)),
        )

    def node(self, name: str, log: PinnedEndpoint) -> NodeConfig:
        return NodeConfig(
            name=name,
            profile=self.plan.profile,
            store_url=self.store_url(Role.NODE),
            log=log,
            model_folder=str(self.plan.model_folder),
            model_name=self.plan.model_name,
            context_tokens=self.plan.context_tokens,
            threads=self.plan.threads,
            engine_processors=engine_processors(0, self.plan.threads),
            drain_s=DRAIN_S,
            evidence=EvidenceConfig(
                unsafe_software_key=self.layout.key(SOFTWARE),
                tpm=self.tpm.node() if self.tpm else None,
            ),
        )

    def launcher(self, name: str, node: str) -> LauncherConfig:
        ray = self.isolation.user("ray")
        return LauncherConfig(
            socket=str(self.layout.socket(name)),
            supervisor_uid=ray.uid if ray else None,
            node_config=str(self.layout.config(node)),
            node_log=str(self.layout.log(node)),
            start_timeout_s=120.0,
            stop_timeout_s=2 * DRAIN_S,
        )

    def gateway(self, log: PinnedEndpoint) -> GatewayConfig:
        return GatewayConfig(
            listen=self._listen("gateway"),
            trust_root=self.layout.trust_root,
            store_url=self.store_url(Role.GATEWAY),
            log=log,
            keys=self.layout.ring("gateway").folder,
            static_url=f"http://127.0.0.1:{self.static_port}",
        )

    def relay(self, gateway: PinnedEndpoint, port: int) -> RelayConfig:
        return RelayConfig(listen=self._listen("relay", port), gateway=gateway)

    def endpoint(self, role: str, address: str) -> PinnedEndpoint:
        """Where ``role`` listens, with the certificate it shows."""
        return PinnedEndpoint(address=address, certificate=self.certificates[role])

    def trust_root(self, *, relay: str, issuer: str) -> TrustRoot:
        """What a device of this cluster takes as given; ``relay`` and ``issuer`` are addresses."""
        software = read_key(self.layout.key(SOFTWARE)).public_key().public_bytes_raw()
        return TrustRoot(
            profile=self.plan.profile,
            relay=Endpoint(address=relay, certificate=self.certificates["relay"]),
            issuer=Endpoint(address=issuer, certificate=self.certificates["issuer"]),
            token_challenge=self.challenge.hex(),
            log_origin=self.origin,
            log_key=self._log_signer.vkey,
            witnesses=(self._witness_vkey,),
            quorum=1,
            checkpoint_max_age_s=CHECKPOINT_MAX_AGE_S,
            node_max_lifetime_s=NODE_MAX_LIFETIME_S,
            key_max_lifetime_s=KEY_LIFETIME_S,
            evidence=self._evidence(software.hex()),
        )

    def _evidence(self, software_key: str) -> EvidencePolicy:
        software = One(UnsafeSoftwarePolicy((software_key,)))
        return AllOf(software, One(self.tpm.policy)) if self.tpm else software

    def store_url(self, role: Role) -> str:
        """How ``role`` opens the store; holds its password."""
        return store_url(self.layout.socket("store"), role, self.passwords)

    @property
    def _log_signer(self) -> NoteSigner:
        return NoteSigner(self.origin, read_key(self.layout.key(LOG_NOTE)))

    @property
    def _witness_vkey(self) -> str:
        return self.witness().signer().vkey

    def _listen(self, role: str, port: int = 0) -> ListenConfig:
        return ListenConfig(port=port, identity=self.layout.key(role))

    def _create_log(self) -> None:
        folder = self.layout.transparency_log
        if not (folder / "log.json").exists():
            TransparencyLog.create(self.origin, self._log_signer, folder).close()

    def _create_account(self) -> None:
        """An account for the device on this machine, with a new credential."""
        account, credential = f"{self.layout.name}-device", secrets.token_bytes(32)
        book = AccountBook(self.layout.accounts)
        book.add(account, credential, daily_tokens=DAILY_TOKENS)
        book.close()
        value = {"account": account, "credential": credential.hex()}
        write_private(self.layout.account, json.dumps(value))


def _origin(layout: ClusterLayout, plan: ClusterPlan) -> str:
    """The log's name, made once: two logs of one name would look like a split view to a device."""
    if not layout.identity_file.exists():
        origin = f"lanai-{layout.name}-{secrets.token_hex(4)}"
        value = {"name": layout.name, "profile": plan.profile, "origin": origin}
        write_private(layout.identity_file, json.dumps(value))
    return str(json.loads(layout.identity_file.read_text(encoding="utf-8"))["origin"])
