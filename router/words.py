"""The sentences' building blocks: one phrase for each closed word of routing.

A reason without its phrase fails a test. Nothing a user typed can reach one.
"""

from collections.abc import Mapping
from typing import Final

from router.bounds import NoBound
from router.vocabulary import Destination, Reason, Stage

__all__ = ["CONDITIONS", "HINTS", "NO_BOUND", "REASONS", "STAGES", "WHERE"]

REASONS: Final[Mapping[Reason, str]] = {
    Reason.MODE_ONLY_ON_DEVICE: "the mode allows the device only",
    Reason.MODE_ONLY_IN_CLOUD: "the mode allows the cloud only",
    Reason.MODE_PREFER_ON_DEVICE: "the mode prefers the device",
    Reason.MODE_PREFER_IN_CLOUD: "the mode prefers the cloud",
    Reason.DATA_SECRET: "the data are secret and never leave the device",
    Reason.NO_CONSENT: "there is no consent for the request to leave the device",
    Reason.OFFLINE: "the device has no network",
    Reason.DEVICE_CANNOT: "the device's runtime lacks what the request needs",
    Reason.CLOUD_CANNOT: "the cluster lacks what the request needs",
    Reason.CLOUD_NOT_CONFIGURED: "no cluster is enrolled",
    Reason.CLOUD_UNREACHABLE: "the cloud cannot be reached",
    Reason.CLOUD_NOT_VERIFIED: "no node of the cloud passed verification",
    Reason.NO_QUOTA: "no token is left to spend in the cloud",
    Reason.DEVICE_NOT_READY: "the device model is not ready",
    Reason.OVER_DEVICE_CONTEXT: "prompt and answer do not fit the device model's context",
    Reason.OVER_CLOUD_CONTEXT: "prompt and answer do not fit the cloud model's context",
    Reason.CONFIDENT: "the device model's own signals stayed above the threshold",
    Reason.LOW_CONFIDENCE: "the signals predict that the cloud would answer better",
    Reason.SESSION_ESCALATED: "this conversation is in the cloud already, and stays there",
    Reason.COST_OUTWEIGHED: "the cloud would answer better, but not by what it costs now",
    Reason.BUDGET_SPENT: "the cloud would be worth it, but the day's money is spent",
    Reason.ANSWER_INVALID: "the device's answer failed the request's own validators, unseen",
    Reason.EARLY_DECODE_TRIPPED: "the device's draft was uncertain or repeated itself",
    Reason.NO_ESTIMATOR: "no estimator was measured for this pair of models, so rules alone decide",
    Reason.NOT_PREDICTIVE: (
        "the signals were measured not to tell where the cloud is better for this pair of models"
    ),
    Reason.CLOUD_FAILED: "the cloud failed before its first byte",
    Reason.EXTERNAL_ASKED: "the app asked for the endpoint outside",
    Reason.EXTERNAL_LAST: "neither device nor cloud is left, and the app allows what is outside",
    Reason.EXTERNAL_NOT_CONFIGURED: "no endpoint outside is configured",
    Reason.EXTERNAL_NOT_PUBLIC: "the data are not public, and never leave for outside",
    Reason.EXTERNAL_CANNOT: "the endpoint outside is asked for plain text alone",
    Reason.EXTERNAL_FAILED: "the endpoint outside failed before its first byte",
}

HINTS: Final[Mapping[Reason, str]] = {
    Reason.MODE_ONLY_ON_DEVICE: "use another mode",
    Reason.MODE_ONLY_IN_CLOUD: "use another mode",
    Reason.DATA_SECRET: "secret data need the device: shorten the prompt or pull the device model",
    Reason.NO_CONSENT: "ask the user for consent, or shorten the prompt to fit the device",
    Reason.OFFLINE: "connect the device, or use a mode that allows the device",
    Reason.DEVICE_CANNOT: "use a mode that allows the cloud",
    Reason.CLOUD_CANNOT: "use a mode that allows the device",
    Reason.CLOUD_NOT_CONFIGURED: "start a cluster with `lanai cloud up --profile development`",
    Reason.CLOUD_UNREACHABLE: "see `lanai doctor`; `lanai cloud status` shows a local cluster",
    Reason.CLOUD_NOT_VERIFIED: "see `lanai attest show`; nothing is sent to an unverified node",
    Reason.NO_QUOTA: "wait for the issuer to give more tokens",
    Reason.DEVICE_NOT_READY: "see `lanai doctor`; `lanai models pull NAME` fetches a model",
    Reason.OVER_DEVICE_CONTEXT: "shorten the prompt, lower --max-tokens, or allow the cloud",
    Reason.OVER_CLOUD_CONTEXT: "shorten the prompt or lower --max-tokens",
}

CONDITIONS: Final[Mapping[Reason, str]] = {
    Reason.MODE_ONLY_ON_DEVICE: "would consider the cloud in another mode",
    Reason.MODE_ONLY_IN_CLOUD: "would consider the device in another mode",
    Reason.MODE_PREFER_ON_DEVICE: "would go to the cloud only if the device could not answer",
    Reason.MODE_PREFER_IN_CLOUD: "would stay on the device only if the cloud could not answer",
    Reason.DATA_SECRET: "would stay on the device at any confidence, in any mode",
    Reason.NO_CONSENT: "would consider the cloud with the user's consent",
    Reason.OFFLINE: "would consider the cloud once there is a network",
    Reason.DEVICE_CANNOT: "would consider the device once its runtime has it",
    Reason.CLOUD_CANNOT: "would consider the cloud once it has it",
    Reason.SESSION_ESCALATED: "would be weighed anew in a conversation of its own",
    Reason.ANSWER_INVALID: "would have stayed on the device with an answer of the asked form",
    Reason.CLOUD_NOT_CONFIGURED: "would consider the cloud once a cluster is enrolled",
    Reason.CLOUD_UNREACHABLE: "would consider the cloud once it can be reached",
    Reason.CLOUD_NOT_VERIFIED: "would consider the cloud once one of its nodes is verified",
    Reason.NO_QUOTA: "would consider the cloud with a token to spend",
    Reason.DEVICE_NOT_READY: "would consider the device once its model is ready",
    Reason.NO_ESTIMATOR: "would weigh the cloud with an estimator measured for this pair of models",
    Reason.NOT_PREDICTIVE: "would stay on the device at any confidence",
    Reason.CLOUD_FAILED: "would have been answered in the cloud without the failure",
    Reason.EXTERNAL_ASKED: "would have stayed if the app had not asked for what is outside",
    Reason.EXTERNAL_LAST: "would have stayed if device or cloud could have answered",
    Reason.EXTERNAL_FAILED: "would have been answered outside without the failure",
}

STAGES: Final[Mapping[Stage, str]] = {
    Stage.ELIGIBILITY: "before the model ran",
    Stage.PREFILL: "after the prompt was read",
    Stage.EARLY_DECODE: "after the first tokens of a draft",
    Stage.AFTER_ANSWER: "after the device's whole answer, before it was shown",
    Stage.FALLBACK: "after another place was tried",
}

WHERE: Final[Mapping[Destination, str]] = {
    Destination.DEVICE: "on the device",
    Destination.CLOUD: "in the cloud",
    Destination.EXTERNAL: "outside, at an endpoint that nobody attested",
}

NO_BOUND: Final[Mapping[NoBound, str]] = {
    NoBound.NOT_CALIBRATED: "the estimator has none for this kind of request",
    NoBound.LOOSER: "this policy keeps requests that the calibration would have sent",
    NoBound.DRIFTED: "requests are no longer like those it was calibrated on",
    NoBound.REFUTED: "graded requests showed more regret than it promises",
}
