"""The wire contract: ``lanai/v1alpha/*.proto`` and the stubs generated from it.

Trusts nothing: every field is outside data until `trust` has checked it. ``make protos``
regenerates the stubs; a test fails when they differ from the protos.
"""
