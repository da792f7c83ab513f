"""Engines and models for tests: deterministic, small, without a download."""

from inference.testing.scripted import STOP_ID, Script, ScriptedEngine
from inference.testing.tiny_model import write_tiny_model

__all__ = ["STOP_ID", "Script", "ScriptedEngine", "write_tiny_model"]
