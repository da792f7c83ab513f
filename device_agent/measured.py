"""A model as an estimator names it: by its weights, and by the folder that nodes' releases name."""

from inference.catalog import InstalledModel
from lanai.errors import EvidenceRejected
from router import MeasuredModel
from trust.attestation.measurement import measure_folder

__all__ = ["measured"]


def measured(model: InstalledModel, *names: str) -> MeasuredModel:
    """Under the catalog ``names`` of these weights; its own, where none are given."""
    return MeasuredModel(
        names=names or (model.name,), weights_sha256=model.sha256, folder_sha256=_folder(model)
    )


def _folder(model: InstalledModel) -> str | None:
    """``None`` for a folder that no node could serve either, such as one of links."""
    try:
        return measure_folder(model.path)
    except EvidenceRejected:
        return None
