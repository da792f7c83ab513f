"""The transparency log: Merkle tree, signed notes, checkpoints, witnesses, tiles on disk.

Trusts the verifier keys it is given. Refuses notes, checkpoints and proofs that are not exactly of
the published forms (RFC 6962, RFC 9162; C2SP signed-note, tlog-checkpoint, tlog-cosignature,
tlog-tiles).
"""
