"""The third destination: any OpenAI-compatible endpoint that the app configured. Off by default.

    AsyncAgent.from_config(external_url="https://api.example/v1", external_model="big")
    session = agent.session(data_class="public", approve=ask_the_user)
    reply = await session.respond("Why is the sky blue?", external="first")

It is never attested, and nothing is sealed to it: who runs it reads what is sent. So it is asked
only where the app names it for this request, only after the app's ``approve`` said yes to the
disclosure, and never with data that are personal or secret, by the app's word or by what the
detector found: a rule of the router, and the type ``Outgoing`` here, each refuse on their own.

Trusts nothing the endpoint says beyond its text: sizes are limited before anything is parsed.
Refuses plain HTTP to any other machine, redirects, and a key in a URL. Keys are never shown.
"""

from device_agent.external.endpoint import Endpoint, Key, configured_endpoint
from device_agent.external.outgoing import Outgoing
from device_agent.external.seam import External, ExternalFinal, ExternalStream

__all__ = [
    "Endpoint",
    "External",
    "ExternalFinal",
    "ExternalStream",
    "Key",
    "Outgoing",
    "configured_endpoint",
]
