"""A server on loopback that speaks what huggingface_hub uses of the hub's HTTP API, and mirrors.

Repositories are in memory: commits are dicts of path to content, branches are names of commits.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_secretsecretsecret"
Files = dict[str, bytes]


class HubServer(ThreadingHTTPServer):
    """The server; ``requests`` has what was asked, ``faults`` what goes wrong next.

    A fault is kept under the end of an address and goes away when it happened: a status to answer,
    or ``"cut"``, which ends the connection in the middle of the content.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, dict[str, str]] = {}
        self.commits: dict[str, Files] = {}
        self.mirror: Files = {}
        self.lfs: Files = {}
        self.faults: dict[str, list[int | str]] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def commit(self, repo: str, branch: str, files: Files) -> str:
        """Make a commit with exactly these files the head of a branch."""
        seed = repr((repo, branch, sorted(files.items()), len(self.commits)))
        sha = hashlib.sha1(seed.encode()).hexdigest()
        self.commits[sha] = dict(files)
        self.repos.setdefault(repo, {})[branch] = sha
        return sha

    def files(self, repo: str, revision: str = "main") -> Files:
        """Return what is at a revision."""
        return self.commits[self.repos[repo][revision]]

    def fault(self, method: str, path: str) -> int | str | None:
        """Note a request; return what shall go wrong with it."""
        with self.lock:
            for end, queue in self.faults.items():
                wanted, _, end = end.rpartition(" ")
                if queue and path.endswith(end) and wanted in ("", method):
                    return queue.pop(0)
        return None


class _Handler(BaseHTTPRequestHandler):
    server: HubServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._handle()

    do_GET = do_POST = do_PUT = do_HEAD  # noqa: N815

    def _handle(self) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append((self.command, path, self.headers.get("Range")))
        fault = self.server.fault(self.command, path)
        if isinstance(fault, int):
            return self._send(fault, b"{}")
        parts = path.strip("/").split("/")
        if parts[0] == "mirror":
            return self._send_file(self.server.mirror.get("/".join(parts[1:])), fault=fault)
        writes = self.command in ("POST", "PUT") and parts[0] != "lfs"
        if writes and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._send_json({"error": "who are you?"}, 401)
        if parts[0] == "lfs" and self.command == "PUT":
            self.server.lfs[parts[1]] = body
            return self._send(200, b"")
        if parts == ["api", "validate-yaml"]:
            return self._send_json({"errors": [], "warnings": []})
        if parts == ["api", "repos", "create"]:
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            if repo in self.server.repos:
                return self._send_json({"url": f"{self.server.url}/{repo}"}, 409)
            self.server.commit(repo, "main", {".gitattributes": b""})
            return self._send_json({"url": f"{self.server.url}/{repo}"})
        if parts[2:] and parts[1].endswith(".git"):
            return self._lfs_batch(json.loads(body))
        start = 2 if parts[:2] == ["api", "models"] else 0
        repo, rest = "/".join(parts[start : start + 2]), parts[start + 2 :]
        branches = self.server.repos.get(repo)
        if branches is None:
            return self._missing("RepoNotFound", 401)
        return self._repository(repo, branches, rest, body, fault)

    def _repository(
        self, repo: str, branches: dict[str, str], rest: list[str], body: bytes, fault: Any
    ) -> None:
        action, revision = (*rest, "main")[:2] if rest else ("info", "main")
        if action == "branch":
            if revision in branches:
                return self._send_json({"error": "there already"}, 409)
            branches[revision] = branches["main"]
            return self._send_json({})
        sha = branches.get(revision, revision)
        if sha not in self.server.commits:
            return self._missing("RevisionNotFound")
        files = self.server.commits[sha]
        if action == "resolve":
            return self._send_file(files.get("/".join(rest[2:])), sha, fault)
        if action in ("info", "revision"):
            siblings = [{"rfilename": name, "size": len(files[name])} for name in sorted(files)]
            return self._send_json({"id": repo, "sha": sha, "siblings": siblings})
        if action == "tree":
            kinds = {"type": "file", "oid": "0" * 40}
            return self._send_json(
                [{**kinds, "path": name, "size": len(files[name])} for name in sorted(files)]
            )
        if action == "preupload":
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".onnx") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return self._send_json({"files": modes})
        if action == "commit":
            return self._commit(repo, revision, dict(files), body)
        return self._missing("EntryNotFound")

    def _commit(self, repo: str, revision: str, files: Files, body: bytes) -> None:
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.server.lfs[value["oid"]]
            elif item["key"] == "deletedFile":
                del files[value["path"]]
        sha = self.server.commit(repo, revision, files)
        self._send_json({"commitUrl": f"{self.server.url}/{repo}/commit/{sha}", "commitOid": sha})

    def _lfs_batch(self, asked: Any) -> None:
        objects = [
            {
                "oid": item["oid"],
                "size": item["size"],
                "actions": {"upload": {"href": f"{self.server.url}/lfs/{item['oid']}"}},
            }
            for item in asked["objects"]
        ]
        self._send_json({"transfer": "basic", "objects": objects})

    def _send_file(self, data: bytes | None, sha: str | None = None, fault: Any = None) -> None:
        if data is None:
            return self._missing("EntryNotFound")
        headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "Accept-Ranges": "bytes"}
        if sha:
            headers["X-Repo-Commit"] = sha
        status, asked = 200, self.headers.get("Range")
        if asked and self.headers.get("If-Range", headers["ETag"]) == headers["ETag"]:
            start = int(asked.removeprefix("bytes=").split("-")[0])
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            status, data = 206, data[start:]
        self._send(status, data, headers, cut=fault == "cut")

    def _missing(self, code: str, status: int = 404) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def _send_json(self, value: Any, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(
        self, status: int, data: bytes, headers: dict[str, str] | None = None, *, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.close_connection = True
