"""How the reference names things: a type links to where it is shown, a signature is short.

`device_agent.reply.Reply` is shown at `device_agent.Reply`.
"""

from typing import Any

from docutils.nodes import Element, Node
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

PUBLIC = (
    "device_agent",
    "device_agent.features",
    "device_agent.guardrails",
    "device_agent.testing",
    "lanai.errors",
)

# An app is given these; what builds them is nobody's business.
GIVEN = ("AsyncAgent", "AsyncSession", "AsyncStream", "Ledger", "Session", "Stream", "TraceStore")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-signature", shorten)
    return {"parallel_read_safe": True}


def shorten(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, result: Any
) -> tuple[str | None, Any]:
    """No constructor where an app calls none; and defaults in a way that can be read."""
    if name in {f"device_agent.{each}" for each in GIVEN}:
        return "", result
    if signature is not None:
        signature = signature.replace("~typing.", "").replace("=<factory>", " = …")
    return signature, result


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: Element) -> Node | None:
    """A link for a name that a public module hands on; ``None`` leaves it as it is."""
    if node.get("refdomain") != "py":
        return None
    python = env.get_domain("py")
    name = str(node["reftarget"]).rpartition(".")[2]
    for module in PUBLIC:
        if (target := f"{module}.{name}") in python.data["objects"]:
            return python.resolve_xref(env, node["refdoc"], app.builder, "obj", target, node, text)
    return None
