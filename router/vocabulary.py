"""The closed words of routing. A new word is added here first, with the rule that says it."""

from enum import StrEnum

__all__ = ["DataClass", "Destination", "Mode", "Reason", "Stage"]


class Destination(StrEnum):
    DEVICE = "device"
    CLOUD = "cloud"


class Mode(StrEnum):
    """Where the app allows a request to run, and where it would rather."""

    AUTO = "auto"
    PREFER_ON_DEVICE = "prefer_on_device"
    ONLY_ON_DEVICE = "only_on_device"
    PREFER_IN_CLOUD = "prefer_in_cloud"
    ONLY_IN_CLOUD = "only_in_cloud"


class DataClass(StrEnum):
    """How private the request is, from least to most. ``SECRET`` never leaves the device."""

    PUBLIC = "public"
    PERSONAL = "personal"
    SECRET = "secret"  # noqa: S105  a class of data, not a secret


class Stage(StrEnum):
    """When the decision fell."""

    ELIGIBILITY = "eligibility"
    PREFILL = "prefill"
    EARLY_DECODE = "early_decode"
    FALLBACK = "fallback"


class Reason(StrEnum):
    """Why. One for each way a decision can fall."""

    MODE_ONLY_ON_DEVICE = "mode_only_on_device"
    MODE_ONLY_IN_CLOUD = "mode_only_in_cloud"
    MODE_PREFER_ON_DEVICE = "mode_prefer_on_device"
    MODE_PREFER_IN_CLOUD = "mode_prefer_in_cloud"
    DATA_SECRET = "data_secret"  # noqa: S105
    NO_CONSENT = "no_consent"
    CLOUD_NOT_CONFIGURED = "cloud_not_configured"
    CLOUD_UNREACHABLE = "cloud_unreachable"
    CLOUD_NOT_VERIFIED = "cloud_not_verified"
    NO_QUOTA = "no_quota"
    DEVICE_NOT_READY = "device_not_ready"
    OVER_DEVICE_CONTEXT = "over_device_context"
    OVER_CLOUD_CONTEXT = "over_cloud_context"
    CONFIDENT = "confident"
    """The device model's own signals stayed above the threshold."""
    LOW_CONFIDENCE = "low_confidence"
    """Prefill signals predict that the cloud would answer better."""
    EARLY_DECODE_TRIPPED = "early_decode_tripped"
    """The buffered draft was uncertain or repeated itself."""
    NO_ESTIMATOR = "no_estimator"
    """No estimator was measured for this pair of models: the rules alone, so the device."""
    NOT_PREDICTIVE = "not_predictive"
    """Measured: the signals of this pair do not tell where the cloud is better, so the device."""
    CLOUD_FAILED = "cloud_failed"
    """The cloud failed before its first byte and the mode allows the device."""
