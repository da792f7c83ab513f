"""A local server that speaks OpenAI's chat completions, so that existing clients work unchanged.

Trusts whoever reaches its socket and holds the key, if there is one: on loopback that is every
process of this machine, which is what the key is for. Refuses requests that name another host or
come from a web page of another origin, so that no site a person visits can speak to it.

It logs counts and error codes, never a prompt or an answer. `docs/serve.md` lists what is accepted,
what is ignored and what is added.
"""

from device_agent.serving.app import Serving, application
from device_agent.serving.server import LocalServer, bind

__all__ = ["LocalServer", "Serving", "application", "bind"]
