"""A whole cluster on one host: started, looked at, scaled and stopped by one command.

Trusts the files of this user. Refuses profiles it cannot keep, starts nothing it does not write
down first, and leaves nothing running when it fails. It has no part in any request.
"""
