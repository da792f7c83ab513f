"""Evidence of what runs on a node: attesters on the node, verifiers of the same kind on the device.

Trusts, per kind, what that kind's verifier is constructed with. Refuses evidence that is not for
exactly the keys of the bundle it came in. `unsafe_software` proves nothing about hardware; it exists
for development, and no other profile accepts it.
"""
