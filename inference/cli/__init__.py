"""``lanai models``: what is there, what it is, how well it predicts."""

from inference.cli.models import models

__all__ = ["models"]
