"""Links a type to where the reference shows it: `device_agent.reply.Reply` at `device_agent`."""

from typing import Any

from docutils.nodes import Element, Node
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

PUBLIC = ("device_agent", "device_agent.testing", "lanai.errors")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True}


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
