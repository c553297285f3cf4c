"""A Hugging Face Hub for reading, on 127.0.0.1: a few repositories from a dictionary, and what went wrong elsewhere."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

_INFO = re.compile(r"/api/(model|dataset|space)s/([^?]+?)/revision/([^?]+)")
_TREE = re.compile(r"/api/(model|dataset|space)s/([^?]+?)/tree/([^/?]+)")
_FILE = re.compile(r"/(?:(dataset|space)s/)?([^?]+?)/resolve/([^/?]+)/([^?]+)")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class HubDouble:
    """What it holds: `files[kind, repository][path]`; `gated` repositories answer 403. `seen` lists requests."""

    files: Mapping[tuple[str, str], Mapping[str, bytes]]
    gated: frozenset[str] = frozenset()
    seen: list[str] = field(default_factory=list)
    endpoint: str = ""

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body."""
        for pattern in (_INFO, _TREE, _FILE):
            match = pattern.match(path)
            if match is None:
                continue
            kind, repository, revision = match[1] or "model", match[2], match[3]
            files = self.files.get((kind, repository))
            if repository in self.gated:
                return 403, {"X-Error-Code": "GatedRepo"}, b"{}"
            if files is None:
                return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
            if revision not in ("main", COMMIT):
                return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
            if pattern is _INFO:
                siblings = [{"rfilename": name} for name in files]
                return 200, {}, json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode()
            if pattern is _TREE:
                entries = [{"type": "file", "path": n, "size": len(b), "oid": _oid(b)} for n, b in files.items()]
                return 200, {}, json.dumps(entries).encode()
            if match[4] not in files:
                return 404, {"X-Error-Code": "EntryNotFound"}, b"{}"
            body = files[match[4]]
            return 200, {"ETag": f'"{_oid(body)}"', "X-Repo-Commit": COMMIT}, body
        return 404, {}, b"{}"


def _oid(body: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


@contextmanager
def serving(hub: HubDouble) -> Iterator[HubDouble]:
    """Serve the repositories for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hub.seen.append(f"{self.command} {self.path}")
            status, headers, body = hub.answer(self.path)
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
