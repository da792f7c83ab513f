"""The agent's router, from the settings. An estimator of another device model is refused."""

from device_agent.local import InstalledDevice, LocatedModel
from lanai.errors import ConfigError, ModelError
from lanai.folders import Folders
from lanai.settings import Settings
from router import Estimator, Router

__all__ = ["installed_device", "router_of"]

SHOWN = 12
"""Hex digits of a hash that are said to a person."""


def installed_device(settings: Settings, folders: Folders) -> InstalledDevice:
    """The device model that the settings name; nothing is loaded yet."""
    return InstalledDevice(
        model=settings.device_model,
        models_folder=folders.models,
        context_tokens=settings.device_context_tokens,
        threads=settings.device_threads,
        adapters_folder=folders.adapters,
        draft_model=settings.device_draft_model,
    )


def router_of(settings: Settings, folders: Folders) -> Router:
    """Policy, estimator and shadow of the settings. Raises ``ConfigError``.

    An estimator that the user named is refused here when it was measured on other weights than the
    device model's. The shipped one is not: for another pair it is left out, and rules decide. The
    cloud's model is known only per request, and is matched then.
    """
    router = Router.standard(
        settings.policy_file,
        settings.estimator_file,
        shadow_policy_file=settings.shadow_policy_file,
    )
    if settings.estimator_file is not None and router.estimator is not None:
        device = _located(settings, folders)
        if device is not None:
            _require(router.estimator, device, str(settings.estimator_file))
    return router


def _located(settings: Settings, folders: Folders) -> LocatedModel | None:
    """``None`` when it is not there: requests then say so themselves."""
    try:
        return installed_device(settings, folders).locate()
    except ModelError:
        return None


def _require(estimator: Estimator, device: LocatedModel, name: str) -> None:
    measured = estimator.pair.device
    if not measured.is_same(device.name, device.weights_sha256):
        raise ConfigError(
            f"the estimator {name} was measured on device weights "
            f"{measured.weights_sha256[:SHOWN]}, not on those of {device.name} "
            f"({device.weights_sha256[:SHOWN]})",
            hint="`lanai route train --out FILE` fits one for this pair, or unset estimator_file",
        )
