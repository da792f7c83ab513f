"""A driver that lives only while it deploys: `python -m cloud_node.deploying ADDRESS SOCKET…`.

Afterwards exactly the launchers at these sockets are supervised. The supervisors are detached Serve
applications, so nothing of Ray stays in the caller's process. Ray's token comes from the
environment that ``raycluster`` gives its children.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import ray
from ray import serve
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationStatus

from cloud_node.supervisor import PREFIX, application, application_name
from lanai.cli.output import complain

NAMESPACE = "lanai"
DEPLOYED = (ApplicationStatus.RUNNING, ApplicationStatus.UNHEALTHY)
"""Ray brings an unhealthy one back by itself."""


def main() -> None:
    options = _arguments()
    ray.init(
        address=options.address,
        namespace=NAMESPACE,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    try:
        _supervise(options.sockets)
    except (RuntimeError, TimeoutError, RayServeException, ray.exceptions.RayError) as error:
        complain(f"Ray did not deploy the supervisors ({type(error).__name__})")
        sys.exit(1)
    finally:
        ray.shutdown()


def _supervise(sockets: Sequence[Path]) -> None:
    serve.start(proxy_location="Disabled")
    wanted = {application_name(socket): socket for socket in sockets}
    found = serve.status().applications
    present = {name: app.status for name, app in found.items() if name.startswith(PREFIX)}
    for name in sorted(present.keys() - wanted.keys()):
        serve.delete(name)
    # One whose deployment failed or was cut short is deployed again.
    targets = [
        serve.RunTarget(target=application(wanted[name]), name=name, route_prefix=None)
        for name in sorted(wanted)
        if present.get(name) not in DEPLOYED
    ]
    if targets:
        serve.run_many(targets)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="cloud_node.deploying", allow_abbrev=False)
    parser.add_argument("address")
    parser.add_argument("sockets", type=Path, nargs="*")
    return parser.parse_args()


if __name__ == "__main__":
    main()
