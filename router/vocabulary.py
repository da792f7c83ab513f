"""The closed words of routing. A new word is added here first, with the rule that says it."""

from enum import StrEnum

__all__ = [
    "Capability",
    "DataClass",
    "Destination",
    "External",
    "Finding",
    "Mode",
    "Reason",
    "Stage",
]


class Destination(StrEnum):
    DEVICE = "device"
    CLOUD = "cloud"
    EXTERNAL = "external"
    """An endpoint that the app configured: never attested, and never chosen by weighing."""


class External(StrEnum):
    """Does the app ask for the endpoint outside? Only ever for public data."""

    NEVER = "never"
    LAST = "last"
    """Where the rules leave neither device nor cloud."""
    FIRST = "first"
    """Before device and cloud."""


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


class Finding(StrEnum):
    """What a detector on the device found in the text: the kind, never the place or the value."""

    CREDENTIAL = "credential"
    CARD = "card"
    BANK_ACCOUNT = "bank_account"
    NATIONAL_ID = "national_id"
    HEALTH = "health"
    CONTACT = "contact"
    NAME = "name"


class Capability(StrEnum):
    """What a request may need of the side that answers it."""

    TOOLS = "tools"
    OUTPUT_FORM = "output_form"
    """JSON schema, regular expression or closed choices."""
    ADAPTER = "adapter"


class Stage(StrEnum):
    """When the decision fell."""

    ELIGIBILITY = "eligibility"
    PREFILL = "prefill"
    EARLY_DECODE = "early_decode"
    AFTER_ANSWER = "after_answer"
    FALLBACK = "fallback"


class Reason(StrEnum):
    """Why. One for each way a decision can fall."""

    MODE_ONLY_ON_DEVICE = "mode_only_on_device"
    MODE_ONLY_IN_CLOUD = "mode_only_in_cloud"
    MODE_PREFER_ON_DEVICE = "mode_prefer_on_device"
    MODE_PREFER_IN_CLOUD = "mode_prefer_in_cloud"
    DATA_SECRET = "data_secret"  # noqa: S105
    NO_CONSENT = "no_consent"
    OFFLINE = "offline"
    DEVICE_CANNOT = "device_cannot"
    CLOUD_CANNOT = "cloud_cannot"
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
    SESSION_ESCALATED = "session_escalated"
    """An earlier turn of this conversation ran in the cloud, and the policy keeps it there."""
    COST_OUTWEIGHED = "cost_outweighed"
    """The cloud promises more than the policy asks for, but not what it costs now."""
    BUDGET_SPENT = "budget_spent"
    """The cloud would be worth it, but the day's money is spent."""
    ANSWER_INVALID = "answer_invalid"
    """The device's whole answer failed the request's own validators, unseen."""
    EARLY_DECODE_TRIPPED = "early_decode_tripped"
    """The buffered draft was uncertain or repeated itself."""
    NO_ESTIMATOR = "no_estimator"
    """No estimator was measured for this pair of models: the rules alone, so the device."""
    NOT_PREDICTIVE = "not_predictive"
    """Measured: the signals of this pair do not tell where the cloud is better, so the device."""
    CLOUD_FAILED = "cloud_failed"
    """The cloud failed before its first byte and the mode allows the device."""
    EXTERNAL_ASKED = "external_asked"
    """The app asked for the endpoint outside."""
    EXTERNAL_LAST = "external_last"
    """Neither device nor cloud is left, and the app allows the endpoint outside."""
    EXTERNAL_NOT_CONFIGURED = "external_not_configured"
    EXTERNAL_NOT_PUBLIC = "external_not_public"
    EXTERNAL_CANNOT = "external_cannot"
    EXTERNAL_FAILED = "external_failed"
    """The endpoint outside failed before its first byte and the mode allows the device."""
