"""Samples of evidence whose every bit is flipped by `bench.evidence_flips`, one file per kind.

A kind's file offers ``samples(data)``: real captured evidence from the folder of shared vectors and
evidence of a test authority, each with the check that accepts it. Add the file to ``KINDS``.
"""
