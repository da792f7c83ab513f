"""Entry point of the issuer's process."""

from cloud_node.events import Component
from cloud_node.issuer.service import IssuerConfig, run
from cloud_node.service import main

if __name__ == "__main__":
    main(Component.ISSUER, IssuerConfig, run)
