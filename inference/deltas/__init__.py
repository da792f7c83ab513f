"""Packed models as a small file beside their source: only what training and rounding changed.

A source on a 4-bit grid tells most of a packed model: where each weight lies, and so which code is
likely. What is left takes about a seventh of the bytes, and gives the same file again to the byte.
"""
