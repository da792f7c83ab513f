"""The shipped estimator stands for the weights that the catalog's default pair has today."""

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from inference.catalog.entries import CatalogEntry, load_entries
from lanai.settings import Settings
from router import LogisticEstimator, MeasuredPair, shipped_estimator


def stale(pair: MeasuredPair, catalog: Mapping[str, CatalogEntry]) -> list[str]:
    """Default models, and all others the estimator names, whose weights it was not measured on."""
    defaults = Settings()
    sides = ((pair.device, defaults.device_model), (pair.cloud, defaults.cloud_model))
    return [
        name
        for model, default in sides
        for name in dict.fromkeys((default, *model.names))
        if name not in model.names or catalog[name].sha256 != model.weights_sha256
    ]


def test_the_shipped_estimator_was_measured_on_the_default_pair() -> None:
    """By hash. A model that is packed anew needs an estimator fitted anew:
    ``lanai bench estimator``."""
    assert stale(shipped_estimator().pair, load_entries()) == []


@pytest.mark.parametrize("side", ["device_model", "cloud_model"])
def test_a_repacked_default_is_noticed(side: str) -> None:
    """The same name with other weights is stale."""
    name = getattr(Settings(), side)
    catalog = dict(load_entries())
    catalog[name] = replace(catalog[name], sha256="0" * 64)
    assert stale(shipped_estimator().pair, catalog) == [name]


def test_another_default_is_noticed() -> None:
    """A default that the estimator does not name is stale, whatever its weights."""
    document = shipped_estimator().to_json_dict()
    document["pair"]["cloud"]["names"] = []
    pair = LogisticEstimator.parse(json.dumps(document)).pair
    assert stale(pair, load_entries()) == [Settings().cloud_model]
