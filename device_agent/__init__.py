"""The SDK apps embed: an agent that answers on the device, and in an attested cloud when it helps.

Trusts the local machine, the enrolled trust root and the verified types `trust` builds from it.
Refuses to send anything to a node it has not verified, and to show half an answer as whole.

Importing this package imports no torch, no ray and nothing of the cloud extra.
"""
