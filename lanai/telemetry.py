"""Names of spans and attributes: the only place they are spelled.

``gen_ai.*`` follows the OpenTelemetry GenAI semantic conventions; ``lanai.*`` is ours. Values are
numbers, booleans, identifiers made here, or words of a closed list: never anything a user typed.
"""

from typing import Final

__all__ = ["ALLOWED_ATTRIBUTES", "Attr", "Span"]


class Span:
    """Span names, one for each step of a request's life."""

    REQUEST: Final = "lanai.request"
    GUARD: Final = "lanai.guard"
    RENDER: Final = "lanai.render"
    ROUTE: Final = "lanai.route"
    DEVICE_PREFILL: Final = "lanai.device.prefill"
    DEVICE_DECODE: Final = "lanai.device.decode"
    EXTERNAL: Final = "lanai.external"
    CLOUD: Final = "lanai.cloud"
    CLOUD_VERIFY: Final = "lanai.cloud.verify"
    CLOUD_TOKEN: Final = "lanai.cloud.token"  # noqa: S105  a span name
    CLOUD_SEAL: Final = "lanai.cloud.seal"
    CLOUD_STREAM: Final = "lanai.cloud.stream"
    NODE: Final = "lanai.node"
    NODE_UNSEAL: Final = "lanai.node.unseal"
    NODE_RENDER: Final = "lanai.node.render"
    NODE_QUEUE: Final = "lanai.node.queue"
    NODE_PREFILL: Final = "lanai.node.prefill"
    NODE_DECODE: Final = "lanai.node.decode"


class Attr:
    """Attribute keys."""

    OPERATION: Final = "gen_ai.operation.name"
    PROVIDER: Final = "gen_ai.provider.name"
    MODEL: Final = "gen_ai.request.model"
    MAX_TOKENS: Final = "gen_ai.request.max_tokens"
    TEMPERATURE: Final = "gen_ai.request.temperature"
    INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
    OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
    FINISH_REASON: Final = "gen_ai.response.finish_reasons"
    ROUTE: Final = "lanai.route.destination"
    STAGE: Final = "lanai.route.stage"
    REASON: Final = "lanai.route.reason"
    CONFIDENCE: Final = "lanai.route.confidence"
    THRESHOLD: Final = "lanai.route.threshold"
    ALPHA: Final = "lanai.route.alpha"
    BENEFIT: Final = "lanai.route.benefit"
    BOUND_REFUSED: Final = "lanai.route.bound_refused"
    CALIBRATOR: Final = "lanai.route.calibrator"
    DECISION_US: Final = "lanai.route.decision_us"
    DETECTOR_US: Final = "lanai.route.detector_us"
    DRIFTED: Final = "lanai.route.drifted"
    ESTIMATOR: Final = "lanai.route.estimator"
    FINDINGS: Final = "lanai.route.findings"
    HEDGED: Final = "lanai.route.hedged"
    MONEY: Final = "lanai.route.money"
    OUTCOME: Final = "lanai.route.outcome"
    POLICY: Final = "lanai.route.policy"
    PRICE: Final = "lanai.route.price"
    WASTED: Final = "lanai.route.wasted_requests"
    MODE: Final = "lanai.route.mode"
    DATA_CLASS: Final = "lanai.route.data_class"
    NODE: Final = "lanai.attest.node"
    EVIDENCE: Final = "lanai.attest.evidence"
    MEASUREMENT: Final = "lanai.attest.measurement"
    LOG_SIZE: Final = "lanai.attest.log_size"
    NODES_SEALED: Final = "lanai.cloud.nodes_sealed"
    BYTES_SENT: Final = "lanai.cloud.bytes_sent"
    BYTES_RECEIVED: Final = "lanai.cloud.bytes_received"
    GUARD_SIDE: Final = "lanai.guard.side"
    GUARD_CONCERN: Final = "lanai.guard.concern"
    DRAFTED: Final = "lanai.speculation.drafted"
    ACCEPTED: Final = "lanai.speculation.accepted"
    TTFT_MS: Final = "lanai.ttft_ms"
    ERROR: Final = "lanai.error"


ALLOWED_ATTRIBUTES: Final = frozenset(
    value for name, value in vars(Attr).items() if not name.startswith("_")
)
