"""A small web page that talks to `lanai serve`, and shows where each answer came from.

    lanai serve --allow-origin http://127.0.0.1:8000
    python examples/page/serve.py

Then open http://127.0.0.1:8000. The page is one file and fetches nothing from elsewhere.
"""

import argparse
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def server(port: int) -> ThreadingHTTPServer:
    """The page on loopback."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(Path(__file__).parent))
    return ThreadingHTTPServer(("127.0.0.1", port), handler)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    with server(parser.parse_args().port) as running:
        page = f"http://127.0.0.1:{running.server_port}"
        print(f"{page}, beside `lanai serve --allow-origin {page}`", flush=True)
        running.serve_forever()


if __name__ == "__main__":
    main()
