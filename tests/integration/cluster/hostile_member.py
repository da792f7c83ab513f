"""A hostile member of a cluster's Ray: what it tries, as one function that Ray runs on the host.

    python hostile_member.py ray ADDRESS < SPEC     as a task of that Ray, with its token
    python hostile_member.py here < SPEC            in this process: the control

Writes every attempt with its outcome: ``got …``, or the name of the error that refused it.
"""

import ctypes
import errno
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

PTRACE_ATTACH, PTRACE_DETACH = 16, 17


def attack(spec):
    """Every attempt on what ``spec`` names."""
    found = {"uid": os.getuid()}
    found["processes"] = {
        f"{role}/{way}": attempt(try_it)
        for role, pid in spec["processes"].items()
        for way, try_it in on_process(pid, spec["mark"].encode()).items()
    }
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        found["own"] = {
            way: attempt(try_it) for way, try_it in on_process(child.pid, b"time.sleep").items()
        }
    finally:
        child.kill()
        child.wait()
    found["files"] = {path: attempt(lambda p=path: read(p)) for path in spec["files"]}
    found["writes"] = {path: attempt(lambda p=path: open_to_write(p)) for path in spec["files"]}
    found["folders"] = {path: attempt(lambda p=path: make_in(p)) for path in spec["folders"]}
    found["sockets"] = {path: attempt(lambda p=path: connect(p)) for path in spec["sockets"]}
    if spec["launcher"]:
        found["launcher"] = [say(spec["launcher"], line) for line in lines()]
    if spec["node"]:
        found["node"] = [knock(spec["node"]), *(infer(spec["node"], r) for r in spec["requests"])]
    if spec["survive"]:
        found["survivor"] = survive()
    return found


def attempt(try_it):
    try:
        return f"got {try_it()}"
    except OSError as error:
        return errno.errorcode.get(error.errno, "OSError")


def on_process(pid, mark):
    return {
        "mem": lambda: search(pid, mark),
        "maps": lambda: len(Path(f"/proc/{pid}/maps").read_bytes()),
        "environ": lambda: len(Path(f"/proc/{pid}/environ").read_bytes()),
        "fd": lambda: len(os.listdir(f"/proc/{pid}/fd")),
        "ptrace": lambda: ptrace(pid),
        "vm_read": lambda: vm_read(pid),
        "signal": lambda: os.kill(pid, 0),
    }


def search(pid, mark):
    """Whether ``mark`` is in the memory that the process may write."""
    held = False
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line):
                start, end = (int(part, 16) for part in found.groups())
                try:
                    memory.seek(start)
                    held = held or mark in memory.read(end - start)
                except (OSError, OverflowError, ValueError):
                    continue
    return "the mark" if held else "no mark"


def ptrace(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_ATTACH, pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    os.waitpid(pid, 0x40000000)  # __WALL
    libc.ptrace(PTRACE_DETACH, pid, None, None)
    return "attached"


def vm_read(pid):
    class Part(ctypes.Structure):
        _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))

    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(8)
    # No address of its memory is known without its maps: a refusal comes before the address counts.
    ours, theirs = Part(ctypes.addressof(buffer), 8), Part(8, 8)
    libc.process_vm_readv.restype = ctypes.c_ssize_t
    if libc.process_vm_readv(pid, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0) < 0:
        if ctypes.get_errno() == errno.EFAULT:
            return "as far as the address"
        raise OSError(ctypes.get_errno(), "process_vm_readv")
    return "memory"


def read(path):
    with open(path, "rb") as file:
        return len(file.read(16))


def open_to_write(path):
    os.close(os.open(path, os.O_WRONLY))
    return "a descriptor"


def make_in(folder):
    """What it takes to put something in the place of a file there."""
    path = os.path.join(folder, f"hostile-{os.getpid()}")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    os.unlink(path)
    return "a file"


def connect(path):
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5)
        probe.connect(path)
        return "a connection"


def lines():
    return [
        b'{"verb": "status"}\n',
        b'{"verb": "read"}\n',
        b'{"verb": "config"}\n',
        b'{"verb": "start", "node_config": "/tmp/own.json"}\n',
        b'{"verb": ["start"]}\n',
        b"\xff\xfe\x00\n",
        b"[" * 1000 + b"\n",
        b"x" * 5000 + b"\n",
        b'{"verb": "start"}\n',
        b'{"verb": "start"}\n',
    ]


def say(path, line):
    """The launcher's answer to one line; ``null`` when it hangs up."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(60)
        wire.connect(path)
        try:
            wire.sendall(line)
            answer = wire.makefile("rb").readline()
        except OSError:
            return None
        return json.loads(answer) if answer else None


def knock(node):
    """Bytes that are no TLS at the node's port."""
    host, _, port = node["address"].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as wire:
        wire.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        try:
            answer = wire.recv(4096)
        except OSError:
            answer = b""
    # A TLS alert (21) at most.
    return "nothing" if answer[:1] in (b"", b"\x15") else f"got {answer!r}"


def infer(node, request):
    """The node's word on frames that somebody else sealed, or nobody did."""
    import grpc

    from cloud_node.identity import CHANNEL_OPTIONS
    from protos.lanai.v1alpha import node_pb2, node_pb2_grpc

    credentials = grpc.ssl_channel_credentials(node["certificate"].encode())
    frames = [node_pb2.InferRequest.FromString(bytes.fromhex(frame)) for frame in request]
    with grpc.secure_channel(node["address"], credentials, options=CHANNEL_OPTIONS) as channel:
        try:
            answer = node_pb2_grpc.NodeStub(channel).Infer(iter(frames), timeout=20)
            return f"got {[len(one.chunk.data) for one in answer]}"
        except grpc.RpcError as error:
            return error.details()


def survive():
    """A process that leaves Ray's session and its parent, to outlive both."""
    leave = ["setsid", "sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"]
    return int(subprocess.run(leave, stdout=subprocess.PIPE, check=True).stdout)


def by_ray(address, spec):
    import ray

    ray.init(address=address, namespace="hostile", log_to_driver=False, logging_level="ERROR")
    try:
        return ray.get(ray.remote(num_cpus=0)(attack).remote(spec), timeout=120)
    finally:
        ray.shutdown()


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    began = time.monotonic()
    done = by_ray(sys.argv[2], asked) if sys.argv[1] == "ray" else attack(asked)
    print(json.dumps(done | {"seconds": time.monotonic() - began}))
