"""The program of an extension handler: runs inside a guest, under the guest's own Python (3.6 and later).

Called by WALinuxAgent as `handler COMMAND` in the handler's directory, which HandlerEnvironment.json
describes. `enable` takes `config/SEQUENCE.settings`, does its work in a process of its own, since the agent
gives a command five minutes, and writes `status/SEQUENCE.status`. A sequence number is done once per machine.
Where a handler has several extensions, the agent says which by ConfigExtensionName, and NAME. stands before
SEQUENCE.

    Handler        what all have in common
    ScriptHandler  CustomScript and the run command that is invoked: `handler.json` beside the program says
                   whether the script's exit status counts

`guest_commands` has the managed run commands, `guest_access` VMAccess.

Source: the settings and texts of Azure/custom-script-extension-linux.
"""

import base64
import contextlib
import gzip
import json
import os
import shlex
import shutil
import signal
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

TAIL = 4096  # bytes of each output that are reported
LONGEST_SCRIPT = 256 * 1024  # characters of the setting `script`
DOWNLOAD_TIMEOUT = 60  # seconds without a byte
PUBLIC = ("commandToExecute", "script", "fileUris", "skipDos2Unix", "timestamp")
PROTECTED = ("commandToExecute", "script", "fileUris")
LOOK = 0.1  # seconds between two looks whether a program ended


class Failed(Exception):
    """What is reported after `Enable failed: `."""


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


class Handler:
    """One call of the program. A kind of handler says what its `work` is."""

    def __init__(self, directory: Path) -> None:
        environment = read_json(directory / "HandlerEnvironment.json")
        folders = (environment[0] if isinstance(environment, list) else environment)["handlerEnvironment"]
        self.config, self.status, self.log = (
            Path(folders[name]) for name in ("configFolder", "statusFolder", "logFolder")
        )
        self.kind = read_json(directory / "handler.json")
        self.data = Path(self.kind["data"])
        self.agent = directory.parent  # /var/lib/waagent; the tenant certificates lie there
        self.name = os.environ.get("ConfigExtensionName", "")  # noqa: SIM112 - so spelled by the agent
        self.prefix = f"{self.name}." if self.name else ""
        self.sequence = find_sequence(self.config, self.prefix)

    def report(self, status: str, message: str) -> None:
        """Write the status file, whole or not at all."""
        now = clock()
        report = {
            "operation": "Enable",
            "configurationAppliedTime": now,
            "status": status,
            "code": 0,
            "formattedMessage": {"lang": "en", "message": message},
        }
        document = [{"version": 1.0, "timestampUTC": now, "status": report}]
        self.status.mkdir(parents=True, exist_ok=True)
        beside = self.status / f"{self.prefix}{self.sequence}.new"
        beside.write_text(json.dumps(document), encoding="utf-8")
        beside.replace(self.status / f"{self.prefix}{self.sequence}.status")

    def take(self) -> bool:
        """Note that the sequence number is taken; False when it was already, on this machine."""
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        record, machine = self.data / f"{self.prefix}mrseq", machine_id()
        known, _, last = record.read_text().strip().partition(" ") if record.exists() else ("", "", "")
        if known == machine and last.isdigit() and int(last) >= self.sequence:
            return False
        record.write_text(f"{machine} {self.sequence}\n")
        return True

    def enable(self) -> None:
        if not self.take():
            self.forget_settings()
            return
        self.begin()
        if os.fork():
            return  # the agent need not wait
        os.setsid()
        self.log.mkdir(parents=True, exist_ok=True)
        redirect(self.log / "handler.log")
        try:
            self.work()
        except Failed as error:
            self.fail(str(error))
        except Exception as error:
            self.fail(f"{type(error).__name__}: {error}")
            raise

    def begin(self) -> None:
        """Tell that the work begins."""
        self.report("transitioning", "Enable in progress")

    def work(self) -> None:
        """Do what the settings say, and report how it ended."""
        raise NotImplementedError

    def fail(self, reason: str) -> None:
        """Report that the work ended early."""
        self.report("error", f"Enable failed: {reason}")

    def settings(self) -> Any:
        """Public and protected settings; the file that held them is emptied of them."""
        given = read_json(self.settings_file())["runtimeSettings"][0]["handlerSettings"]
        public = given.get("publicSettings") or {}
        protected = self.decrypt(given) if given.get("protectedSettings") else {}
        self.forget_settings()
        return public, protected

    def settings_file(self) -> Path:
        return self.config / f"{self.prefix}{self.sequence}.settings"

    def forget_settings(self) -> None:
        """Empty the file, which the agent writes anew at each goal state, of settings."""
        empty: Any = {"runtimeSettings": [{"handlerSettings": {"publicSettings": {}}}]}
        self.settings_file().write_text(json.dumps(empty))

    def decrypt(self, given: Any) -> Any:
        """The protected settings. They are CMS EnvelopedData to the certificate named by its thumbprint."""
        thumbprint = str(given.get("protectedSettingsCertThumbprint", "")).upper()
        recipient, key = (self.agent / (thumbprint + suffix) for suffix in (".crt", ".prv"))
        envelope = self.data / f"{self.prefix}protected.der"
        envelope.write_bytes(base64.b64decode(given["protectedSettings"]))
        words = ["openssl", "cms", "-decrypt", "-inform", "DER", "-in", str(envelope)]
        words += ["-recip", str(recipient), "-inkey", str(key)]
        try:
            with os.popen(" ".join(map(shlex.quote, words))) as pipe:
                text = pipe.read()
        finally:
            envelope.unlink()
        try:
            return json.loads(text)
        except ValueError as error:
            raise Failed("failed to get configuration: protected settings cannot be decrypted") from error

    def disable(self) -> None:
        """End one extension of several; those that are alone are uninstalled."""

    def uninstall(self) -> None:
        shutil.rmtree(str(self.data), ignore_errors=True)


class ScriptHandler(Handler):
    """Runs commandToExecute or script once, and reports the end of its outputs."""

    def work(self) -> None:
        status, output = self.run_script(merge(*self.settings()))
        if status and self.kind["exitStatusCounts"]:
            raise Failed(f"failed to execute command: command terminated with exit status={status}{output}")
        self.report("success", f"Enable succeeded: {output}")

    def run_script(self, settings: Any) -> Any:
        """Run what the settings ask for: its exit status, and its output as it is reported."""
        directory = self.data / "download" / str(self.sequence)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for number, url in enumerate(settings.get("fileUris") or []):
            try:
                download(str(url), directory, not settings.get("skipDos2Unix"))
            except Exception as error:
                reason = f"failed to download file[{number}]: {error}"
                raise Failed(f"processing file downloads failed: {reason}") from error
        command = settings.get("commandToExecute") or write_script(settings, directory)
        status = wait_for(execute(["/bin/sh", "-c", command], directory))
        outputs = [tail(directory / name) for name in ("stdout", "stderr")]
        return status, "\n[stdout]\n{}\n[stderr]\n{}".format(*outputs)


def clock() -> str:
    """The time, as status files have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def find_sequence(config: Path, prefix: str) -> int:
    """The sequence number that the agent gave, else that of the newest settings."""
    given = os.environ.get("ConfigSequenceNumber", "")  # noqa: SIM112 - so spelled by the agent
    if given.isdigit():
        return int(given)
    numbers = [path.name[len(prefix) : -len(".settings")] for path in config.glob(f"{prefix}*.settings")]
    return max([int(number) for number in numbers if number.isdigit()], default=0)


def machine_id() -> str:
    """What tells a captured disk's new machine from the old one."""
    path = Path("/sys/class/dmi/id/product_uuid")
    return path.read_text().strip().lower() if path.exists() else "unknown"


def redirect(log: Path) -> None:
    """Let go of the agent's pipes: it waits until they are closed."""
    with Path(os.devnull).open("rb") as nothing, log.open("ab") as written:
        os.dup2(nothing.fileno(), 0)
        os.dup2(written.fileno(), 1)
        os.dup2(written.fileno(), 2)


def merge(public: Any, protected: Any) -> Any:
    """The settings, when they can be run. Source: custom-script-extension-linux, handlersettings.go."""
    for given, known, where in ((public, PUBLIC, "public"), (protected, PROTECTED, "protected")):
        unknown = sorted(set(given) - set(known))
        if unknown:
            reason = f"json validation error: invalid {where} settings JSON: {unknown[0]} is not known"
            raise Failed(f"failed to get configuration: {reason}")
    for name in ("commandToExecute", "script"):
        if public.get(name) and protected.get(name):
            twice = f"'{name}' was specified both in public and protected settings"
            reason = f"invalid configuration: {twice}; it must be specified only once"
            raise Failed(f"failed to get configuration: {reason}")
    merged = dict(public)
    merged.update(protected)
    asked = [name for name in ("commandToExecute", "script") if merged.get(name)]
    if len(asked) != 1:
        reason = "'commandToExecute' and 'script' were both specified, but only one is validate at a time"
        if not asked:
            reason = "'commandToExecute' or 'script' is not specified"
        raise Failed(f"failed to get configuration: invalid configuration: {reason}")
    return merged


def download(url: str, directory: Path, unix_lines: bool) -> Path:
    """Fetch a file into the directory, under the last word of its path; where it lies."""
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path.rsplit("/", 1)[-1])
    if not name or name in (".", "..") or "/" in name:
        raise Failed("cannot extract file name from URL")
    path = directory / name
    with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT) as reply, path.open("wb") as file:
        shutil.copyfileobj(reply, file)
    path.chmod(0o500)
    if unix_lines:
        to_unix(path)
    return path


def to_unix(path: Path) -> None:
    """Take a script's byte order mark and carriage returns away; other files stay."""
    content = path.read_bytes()
    marked = content[3:] if content.startswith(b"\xef\xbb\xbf") else content
    if marked.startswith(b"#!") or path.suffix in (".sh", ".py", ".txt"):
        path.chmod(0o700)
        path.write_bytes(marked.replace(b"\r\n", b"\n"))
        path.chmod(0o500)


def write_script(settings: Any, directory: Path) -> str:
    """The setting `script` as a file; its path. It is base64, and may be packed by gzip."""
    script = str(settings["script"])
    if len(script) > LONGEST_SCRIPT:
        length = (
            f"The script's length ({len(script)}) exceeded the maximum allowed length of {LONGEST_SCRIPT}!"
        )
        raise Failed(f"failed to execute command: {length}")
    try:
        content = base64.b64decode(script, validate=True)
        content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    except (ValueError, OSError, EOFError) as error:
        raise Failed(f"failed to execute command: failed to decode script: {error}") from error
    path = directory / "script.sh"
    if path.exists():
        path.unlink()
    path.write_bytes(content)
    path.chmod(0o500)
    if not settings.get("skipDos2Unix"):
        to_unix(path)
    return str(path)


def execute(words: Any, directory: Path, become: Any = None) -> int:
    """Start a program, its output in the files stdout and stderr of the directory; its process id.

    It leads a session of its own. `become` is called in it before the program, to be somebody else.
    """
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            os.chdir(str(directory))
            for number, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
            if become is not None:
                become()
            os.execv(words[0], words)
        finally:
            os._exit(127)
    return child


def wait_for(child: int) -> int:
    """The exit status of a program that was started."""
    return exit_status(os.waitpid(child, 0)[1])


def look_at(child: int, seconds: float) -> Any:
    """The exit status of a program, None when it has not ended after the time."""
    end = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return exit_status(status)
        if time.monotonic() >= end:
            return None
        time.sleep(LOOK)


def exit_status(status: int) -> int:
    """As a shell tells it: 128 and the number of the signal."""
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def end_session(leader: int) -> None:
    """Kill a program and what it started, unless it left its session."""
    with contextlib.suppress(OSError):  # it may have ended by itself
        os.killpg(leader, signal.SIGKILL)


def tail(path: Path) -> str:
    """The end of an output."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        return file.read().decode("utf-8", "replace")


def call(handler: Handler, command: str) -> None:
    """Do what the agent asks for; there is nothing to install or to update."""
    commands = {"enable": handler.enable, "disable": handler.disable, "uninstall": handler.uninstall}
    if command in commands:
        commands[command]()


def main(kind: Any) -> None:
    """`PROGRAM COMMAND`, PROGRAM being the handler's directory."""
    call(kind(Path(sys.argv[0]).resolve()), sys.argv[1])


def run() -> None:
    main(ScriptHandler)
