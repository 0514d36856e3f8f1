"""What WALinuxAgent does with a handler's package, in a directory of a test."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from vmstamp.fabric.certificates import Tenant
from vmstamp.fabric.extensions import Handler, build_package
from vmstamp.run import run

PATIENCE = 20.0  # seconds for a script


@dataclass
class Installed:
    """A handler as the agent unpacks it. `name` is the extension's, of a handler of several."""

    directory: Path
    data: Path
    name: str = ""

    @property
    def prefix(self) -> str:
        return f"{self.name}." if self.name else ""

    def call(self, command: str, sequence: int, **settings: Any) -> None:
        """What the agent does: the settings written, the command run to its end."""
        text = json.dumps({"runtimeSettings": [{"handlerSettings": settings}]})
        (self.directory / "config" / f"{self.prefix}{sequence}.settings").write_text(text)
        given = {"ConfigSequenceNumber": str(sequence)}
        if self.name:
            given["ConfigExtensionName"] = self.name
        run([self.directory / "handler", command], env=given, timeout=PATIENCE)

    def status(self, sequence: int) -> dict[str, str]:
        path = self.directory / "status" / f"{self.prefix}{sequence}.status"
        found = json.loads(path.read_text())[0]["status"]
        return {"status": found["status"], "message": found["formattedMessage"]["message"]}

    def enable(self, sequence: int = 0, **settings: Any) -> tuple[str, str]:
        """What the handler reports when it has ended."""
        self.call("enable", sequence, **settings)
        return self.wait(sequence, lambda status, message: status != "transitioning")

    def wait(self, sequence: int, test: Callable[[str, str], bool]) -> tuple[str, str]:
        """What the handler reports when it passes the test."""
        told = ("", "")

        def passes() -> bool:
            nonlocal told
            found = self.status(sequence)
            told = found["status"], found["message"]
            return test(*told)

        wait_until(passes)
        return told

    def seal(self, protected: dict[str, Any]) -> dict[str, Any]:
        """Protected settings, for a certificate that the agent is given."""
        tenant = Tenant("test")
        key, certificate, _ = pkcs12.load_key_and_certificates(tenant.pfx, None)
        assert key is not None and certificate is not None
        agent = self.directory.parent
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (agent / f"{tenant.thumbprint}.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
        (agent / f"{tenant.thumbprint}.prv").write_bytes(private)
        return {
            "protectedSettings": tenant.seal(json.dumps(protected).encode()),
            "protectedSettingsCertThumbprint": tenant.thumbprint,
        }


def wait_until(test: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not test():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def install(tmp_path: Path, handler: Handler, name: str = "") -> Installed:
    directory, data = tmp_path / "waagent" / f"{handler.name}-{handler.version}", tmp_path / "data"
    with zipfile.ZipFile(io.BytesIO(build_package(replace(handler, data=str(data))))) as package:
        package.extractall(directory)
    for folder in ("config", "status", "log"):
        (directory / folder).mkdir()
    for file in directory.rglob("*"):
        file.chmod(0o700)  # as the agent does
    folders = {f"{one}Folder": str(directory / one) for one in ("config", "status", "log")}
    environment = [{"name": handler.name, "version": 1.0, "handlerEnvironment": folders}]
    (directory / "HandlerEnvironment.json").write_text(json.dumps(environment))
    return Installed(directory, data, name)
