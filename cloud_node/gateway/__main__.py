"""Entry point of the gateway's process."""

from cloud_node.events import Component
from cloud_node.gateway.process import GatewayConfig, run
from cloud_node.service import main

if __name__ == "__main__":
    main(Component.GATEWAY, GatewayConfig, run)
