"""A service as small as one can be, with the ways of behaving badly that the manager has to cope with.

python3 fake_service.py --port N [--health TEXT] [--loading-until FILE] [--die] [--ignore-sigterm] [--child FILE]
"""

import argparse
import http.server
import json
import os
import signal
import subprocess
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--health", default="healthy")
    parser.add_argument("--loading-until", type=Path, help="/health says loading until this file is there")
    parser.add_argument("--die", action="store_true", help="end at once with status 3")
    parser.add_argument("--ignore-sigterm", action="store_true")
    parser.add_argument("--child", type=Path, help="start a child and write its PID there")
    parser.add_argument("--about", type=json.loads, default={}, help="what /health says besides, as JSON")
    args = parser.parse_args()

    print("fake service: reading its settings", flush=True)
    if args.die:
        sys.exit("fake service: the weights are not there")  # status 1, on stderr

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            loading = args.loading_until is not None and not args.loading_until.exists()
            status = "loading" if loading else args.health
            body = json.dumps({"status": status, "reason": f"it is {status}", "engine": "fake", **args.about}).encode()
            self.send_response(200 if status == "healthy" else 503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((args.host, args.port), Handler)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if args.ignore_sigterm else lambda *_: os._exit(0))
    if args.child:
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        args.child.write_text(str(child.pid))
    server.serve_forever()


if __name__ == "__main__":
    main()
