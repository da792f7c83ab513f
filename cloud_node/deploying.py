"""A driver that lives only while it deploys: `python -m cloud_node.deploying ACTION ADDRESS …`.

The supervisors are a detached Serve application, so nothing of Ray stays in the caller's process.
Ray's address and token come from the environment that ``raycluster`` gives its children.
"""

import argparse
import logging
import sys
from pathlib import Path

import ray
from ray import serve

from cloud_node.supervisor import APPLICATION, application
from lanai.cli.output import complain

NAMESPACE = "lanai"


def main() -> None:
    options = _arguments()
    ray.init(
        address=options.address,
        namespace=NAMESPACE,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    try:
        if options.action == "up":
            _up(options)
        else:
            serve.delete(APPLICATION)
    except (RuntimeError, TimeoutError, ray.exceptions.RayError) as error:
        complain(f"Ray did not deploy the supervisors ({type(error).__name__})")
        sys.exit(1)
    finally:
        ray.shutdown()


def _up(options: argparse.Namespace) -> None:
    serve.start(proxy_location="Disabled")
    nodes = application(options.launchers, nodes=options.nodes, most_nodes=options.most_nodes)
    serve.run(nodes, name=APPLICATION, route_prefix=None)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="cloud_node.deploying", allow_abbrev=False)
    parser.add_argument("action", choices=("up", "down"))
    parser.add_argument("address")
    parser.add_argument("--launchers", type=Path)
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--most-nodes", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
