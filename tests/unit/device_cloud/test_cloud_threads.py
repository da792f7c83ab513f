"""What the gRPC client of the cloud leaves behind: nothing."""

import os
import subprocess
import sys

CYCLES = """
import asyncio, os, pathlib, sys, threading
import psutil
from grpc import aio
from cloud_node.identity import TlsIdentity, server_credentials
from device_agent.cloud.transport_grpc import GrpcRelayTransport
from device_agent.testing import FakeAgent
from lanai.errors import CloudError
from protos.lanai.v1alpha import gateway_pb2_grpc
from trust.root import Endpoint

class Relay(gateway_pb2_grpc.RelayServicer):
    pass

class Cloud:
    '''Enough of one to have an agent hold the real channel.'''
    def __init__(self, endpoint):
        self.transport = GrpcRelayTransport(endpoint)
    async def status(self):
        await self.transport.connect()
        raise CloudError("reached, and nothing to say")
    async def close(self):
        await self.transport.close()

async def serve():
    identity, server = TlsIdentity.generate("relay"), aio.server()
    gateway_pb2_grpc.add_RelayServicer_to_server(Relay(), server)
    port = server.add_secure_port("127.0.0.1:0", server_credentials(identity))
    await server.start()
    certificate = identity.certificate_pem.decode("ascii")
    return server, Endpoint(address=f"127.0.0.1:{port}", certificate=certificate)

async def cycle():
    server, endpoint = await serve()
    async with FakeAgent(pathlib.Path(sys.argv[1]), ["yes"], cloud=Cloud(endpoint)) as agent:
        state = await agent.availability()
        assert state.cloud.reason == "reached, and nothing to say", state.cloud.reason
        await agent.session(mode="only_on_device").respond("hello")
    await server.stop(None)

def counts():
    me = psutil.Process()
    names = sorted(each.name for each in threading.enumerate())
    return me.num_threads(), len(me.children()), names

asyncio.run(cycle())
asyncio.run(cycle())
warm = counts()
for _ in range(8):
    asyncio.run(cycle())
after = counts()
assert after[0] - warm[0] < 8, (warm, after)  # its own pool breathes; a leak is one a cycle
print(after[1], *after[2])
"""


def test_cycles_of_the_real_channel_leave_no_thread_and_no_child(tmp_path) -> None:
    """Python's threads are all joined, and the library's own do not grow by one a cycle."""
    done = subprocess.run(
        [sys.executable, "-c", CYCLES, str(tmp_path)],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "GRPC_VERBOSITY": "NONE"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["0", "MainThread"]
