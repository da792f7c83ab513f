"""What device and cloud must agree on: envelope, attestation, transparency log, tokens, trust root.

Trusts the trust root it is given, the `cryptography` library and the clock passed in. Everything
else is outside data until a verifier has built the verified type.
Refuses, with a reason of a closed list, whatever is not exactly right; never falls back.

Sans-IO: no sockets, files only in folders the caller names; clock and randomness are parameters. No
torch, no ray.
"""
