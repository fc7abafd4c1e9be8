"""The JSON Schema of configs in the editors' language server for YAML, and in ajv in strict mode."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from recctl import cli
from tests.clients import node_packages
from tests.experiment.config_mistakes import MISTAKES, VALID

ROOT = Path(__file__).parents[2]
SECONDS = 60


@pytest.fixture(scope="module")
def packages() -> Path:
    return node_packages.install("yaml-language-server")


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The schema file that recctl writes."""
    path = tmp_path_factory.mktemp("schema") / "recctl.schema.json"
    assert cli.run(["config", "schema", "-o", str(path), "--quiet"]) == 0
    return path


class LanguageServer:
    """The language server, as an editor speaks to it: JSON-RPC through its standard input and output."""

    def __init__(self, packages: Path) -> None:
        program = packages / "node_modules" / "yaml-language-server" / "bin" / "yaml-language-server"
        self.process = subprocess.Popen(
            ["node", str(program), "--stdio"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        # Files of the test only: no schema of another project, and none from the internet.
        self.settings = {"yaml": {"schemaStore": {"enable": False}, "validate": True}}
        self._send(
            {"id": 0, "method": "initialize", "params": {"processId": None, "rootUri": None, "capabilities": {}}}
        )
        while self._receive().get("id") != 0:
            pass
        self._send({"method": "initialized", "params": {}})
        self._send({"method": "workspace/didChangeConfiguration", "params": {"settings": self.settings}})

    def diagnose(self, files: list[Path]) -> dict[Path, list[str]]:
        """Open files, and return what an editor would underline in each: `line: message`."""
        # A server that does not answer must not stop the tests.
        deadline = Timer(SECONDS, self.process.kill)
        deadline.start()
        try:
            return self._diagnose(files)
        finally:
            deadline.cancel()

    def _diagnose(self, files: list[Path]) -> dict[Path, list[str]]:
        for file in files:
            document = {"uri": file.as_uri(), "languageId": "yaml", "version": 1, "text": file.read_text()}
            self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        waiting = {file.as_uri(): file for file in files}
        found: dict[Path, list[str]] = {}
        while waiting:
            message = self._receive()
            if message.get("method") == "textDocument/publishDiagnostics":
                file = waiting.pop(message["params"]["uri"], None)
                if file is not None:
                    diagnostics = message["params"]["diagnostics"]
                    found[file] = [f"{each['range']['start']['line'] + 1}: {each['message']}" for each in diagnostics]
            elif "id" in message and "method" in message:
                # A request of the server, for example for its settings.
                answer = [self.settings["yaml"], {}, {}, {}, {}] if "onfiguration" in message["method"] else None
                self._send({"id": message["id"], "result": answer})
        return found

    def _send(self, message: dict[str, Any]) -> None:
        content = json.dumps({"jsonrpc": "2.0"} | message).encode()
        assert self.process.stdin
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(content) + content)
        self.process.stdin.flush()

    def _receive(self) -> Any:
        assert self.process.stdout
        length = 0
        while line := self.process.stdout.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return json.loads(self.process.stdout.read(length))

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def server(packages: Path) -> Iterator[LanguageServer]:
    language_server = LanguageServer(packages)
    yield language_server
    language_server.stop()


def write_configs(folder: Path, schema: Path, texts: list[str]) -> dict[Path, str]:
    """Write configs that name the schema file in their first line."""
    files = {}
    for position, text in enumerate(texts):
        file = folder / f"{position}.yaml"
        file.write_text(f"# yaml-language-server: $schema={schema}\n{text}\n")
        files[file] = text
    return files


@pytest.mark.slow
def test_ajv_compiles_the_schema_in_strict_mode(packages: Path, schema: Path) -> None:
    command = ["node", str(packages / "compile.mjs"), str(schema)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")


def test_editor_accepts_every_valid_config(server: LanguageServer, schema: Path, tmp_path: Path) -> None:
    bundled = [path.read_text() for path in sorted((ROOT / "configs").glob("*.yaml"))]
    assert len(bundled) > 15
    files = write_configs(tmp_path, schema, [*bundled, *VALID])
    found = server.diagnose(list(files))
    assert {files[file]: messages for file, messages in found.items() if messages} == {}


@pytest.mark.parametrize("kind", MISTAKES)
def test_editor_underlines_every_mistake(server: LanguageServer, schema: Path, tmp_path: Path, kind: str) -> None:
    files = write_configs(tmp_path, schema, MISTAKES[kind])
    found = server.diagnose(list(files))
    assert [files[file] for file, messages in found.items() if not messages] == []


def test_new_config_names_a_schema_that_its_editor_finds(
    server: LanguageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(["config", "init", "als", "-o", "mine.yaml", "--quiet"]) == 0
    file = tmp_path / "mine.yaml"
    assert server.diagnose([file]) == {file: []}
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(file.read_text().replace("n_factors:", "n_factor:"))
    line = 1 + [text.strip().partition(":")[0] for text in wrong.read_text().splitlines()].index("n_factor")
    assert server.diagnose([wrong]) == {wrong: [f"{line}: Property n_factor is not allowed."]}
