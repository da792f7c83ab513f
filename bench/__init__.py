"""What is measured, by commands anybody can run: ``lanai bench …`` and the scripts beside it.

Trusts nothing and promises nothing: comparisons run interleaved in one go, and report medians.
Whatever leaves a protection out to be compared with is named ``Unsafe…`` and lives here only.
"""
