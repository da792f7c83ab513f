"""Decides, per request, between device and cloud, and explains it.

Trusts the numbers it is given: facts about the request, the device and the cloud, and statistics of
the device model. Deciding sees no text; it runs no model and opens no connection. Judging and
calibrating (`results`, `worth`, `guarantee`) read graded prompts that a person hands over.
Refuses to weigh a privacy rule against anything: rules come first and cannot be outvoted. Refuses
an estimator measured on other models, and stays on the device where signals were found to say
nothing.

A caller must act on the Decision it is given: show nothing of a draft before it, and never change
the source after the first character.
"""

from router.circumstances import DeviceState
from router.decision import Decision, RuleVerdict, SignalReading
from router.estimator import Estimate, Estimator
from router.facts import (
    AnswerObservation,
    CloudFacts,
    DecodeObservation,
    DeviceFacts,
    PrefillObservation,
    RequestFacts,
)
from router.logistic import LogisticEstimator, shipped_estimator
from router.pair import MeasuredModel, MeasuredPair
from router.policy import Policy
from router.routing import Router
from router.rules import Rule
from router.run import Observations, RoutingRun
from router.signals import Signal
from router.vocabulary import DataClass, Destination, Mode, Reason, Stage

__all__ = [
    "AnswerObservation",
    "CloudFacts",
    "DataClass",
    "Decision",
    "DecodeObservation",
    "Destination",
    "DeviceFacts",
    "DeviceState",
    "Estimate",
    "Estimator",
    "LogisticEstimator",
    "MeasuredModel",
    "MeasuredPair",
    "Mode",
    "Observations",
    "Policy",
    "PrefillObservation",
    "Reason",
    "RequestFacts",
    "Router",
    "RoutingRun",
    "Rule",
    "RuleVerdict",
    "Signal",
    "SignalReading",
    "Stage",
    "shipped_estimator",
]
