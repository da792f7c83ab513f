"""What operators run: relay, gateway, issuer, log, witness, node, and Ray that supervises nodes.

Each party trusts only what DESIGN calls its own: the gateway and Ray never see plaintext, and stay
outside the trust boundary. The node trusts its own process tree and the keys it made.
Refuses requests it cannot open exactly as they were sealed, and unsafe evidence outside
development.
"""
