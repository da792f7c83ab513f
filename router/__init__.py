"""Decides, per request, between device and cloud, and explains it.

Trusts the numbers it is given: facts about the request, the device and the cloud, and statistics of
the device model. It sees no text, runs no model and opens no connection.
Refuses to weigh a privacy rule against anything: rules come first and cannot be outvoted.
"""
