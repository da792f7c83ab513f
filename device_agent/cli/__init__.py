"""The device's commands. Each file registers one family under ``lanai.commands``."""
