"""The program of the managed run commands, in a guest: see `guest_handler`.

Settings: public `source` {script or scriptUri}, `parameters`, `runAsUser`, `timeoutInSeconds`,
`asyncExecution`, `treatFailureAsDeploymentFailure`; protected `protectedParameters` and `sourceSASToken`, the
query of scriptUri. A parameter with a name is an environment variable, one without an argument.

What is reported is a JSON document in the status's message: executionState, executionMessage, output, error,
exitCode, startTime, endTime. A script that fails is a success of the extension, unless
`treatFailureAsDeploymentFailure`.

Source: Azure/run-command-handler-linux (internal/cmds, internal/exec, internal/types).
"""

import json
import os
import pwd
import shlex
import shutil
from pathlib import Path
from typing import Any

from vmstamp.fabric.guest_handler import (
    Failed,
    Handler,
    clock,
    download,
    end_session,
    execute,
    look_at,
    main,
    tail,
)

PROGRESS = 30.0  # seconds between two reports of what a script has written
SHELLS = ("/bin/bash", "/usr/bin/bash", "/bin/sh")
RUN_AS = "waagent/run-command-handler-runas/download"  # below the home of runAsUser
KILLED = -1  # the exit status of a script that was killed at its time-out


class Commands(Handler):
    """One run command."""

    def begin(self) -> None:
        self.view = {
            "executionState": "Running",
            "executionMessage": "Execution in progress",
            "output": "",
            "error": "",
            "exitCode": 0,
            "startTime": clock(),
            "endTime": "",
        }
        self.failure = "success"  # the status that a failing script has
        self.tell("transitioning")

    def tell(self, status: str, **news: Any) -> None:
        self.view.update(news)
        self.report(status, json.dumps(self.view))

    def fail(self, reason: str) -> None:
        message = f"Execution failed: {reason}"
        self.tell(self.failure, executionState="Failed", executionMessage=message, endTime=clock())

    @property
    def directory(self) -> Path:
        return self.data / "download" / self.name / str(self.sequence)

    @property
    def running(self) -> Path:
        """Where the processes of the run command are noted, as `PID STARTED` in lines."""
        return self.data / f"{self.prefix}pids"

    def work(self) -> None:
        self.end_previous()
        public, protected = self.settings()
        if public.get("treatFailureAsDeploymentFailure"):
            self.failure = "error"
        script = self.find_script(public, protected)
        meanwhile = "success" if public.get("asyncExecution") else "transitioning"
        self.tell(meanwhile)
        status = self.run(script, public, protected, meanwhile)
        self.running.unlink()
        self.view.update(self.outputs())
        if status:
            self.view["exitCode"] = status
            reason = f"command terminated with exit status={status}"
            raise Failed(f"failed to execute command: {reason}")
        done = {"executionState": "Succeeded", "executionMessage": "Execution completed"}
        self.tell("success", endTime=clock(), **done)

    def find_script(self, public: Any, protected: Any) -> Path:
        """The script as a file."""
        shutil.rmtree(str(self.directory), ignore_errors=True)
        self.directory.mkdir(mode=0o700, parents=True)
        source = public.get("source") or {}
        if source.get("scriptUri"):
            query = protected.get("sourceSASToken", "")
            url = source["scriptUri"] + (f"?{query}" if query else "")
            try:
                return download(url, self.directory, True)
            except Exception as error:
                told = f"{error} ({source['scriptUri']})"
                raise Failed(f"File downloads failed. Use a public script URI and retry: {told}") from error
        path = self.directory / "script.sh"
        path.write_text(source.get("script", ""), encoding="utf-8")
        path.chmod(0o500)
        return path

    def run(self, script: Path, public: Any, protected: Any, meanwhile: str) -> int:
        """Run the script to its end or its time-out; its exit status."""
        parameters = [*(public.get("parameters") or []), *(protected.get("protectedParameters") or [])]
        account = find_account(str(public["runAsUser"])) if public.get("runAsUser") else None
        content = script.read_bytes()
        if account is not None:
            script = Path(account.pw_dir) / RUN_AS / self.name / str(self.sequence) / script.name
        words = [shlex.quote(str(script))]
        words += [one["value"] for one in parameters if one.get("value") and not one.get("name")]
        named = {one["name"]: one["value"] for one in parameters if one.get("value") and one.get("name")}
        shell = next(path for path in SHELLS if Path(path).exists())

        def start() -> None:
            os.environ.update(named)
            if account is not None:
                become(account)
                write_again(script, content)

        child = execute([shell, "-c", " ".join(words)], self.directory, start)
        self.note(os.getpid(), child)
        left = float(public.get("timeoutInSeconds") or 0) or float("inf")
        while left > 0:
            step = min(left, PROGRESS)
            status = look_at(child, step)
            if status is not None:
                return int(status)
            left -= step
            self.tell(meanwhile, **self.outputs())
        end_session(child)
        look_at(child, PROGRESS)
        return KILLED

    def outputs(self) -> Any:
        names = {"output": "stdout", "error": "stderr"}
        return {key: tail(self.directory / name) for key, name in names.items()}

    # -- the processes of a run command

    def note(self, *pids: int) -> None:
        self.running.write_text("".join(f"{pid} {started(pid)}\n" for pid in pids))

    def end_previous(self) -> None:
        """Kill what an earlier number of the run command left running."""
        if not self.running.exists():
            return
        for line in self.running.read_text().splitlines():
            pid, _, at = line.partition(" ")
            if pid.isdigit() and at and started(int(pid)) == at:
                end_session(int(pid))
        self.running.unlink()

    def disable(self) -> None:
        self.end_previous()
        shutil.rmtree(str(self.data / "download" / self.name), ignore_errors=True)


def find_account(user: str) -> Any:
    """The account that runAsUser names."""
    try:
        return pwd.getpwnam(user)
    except KeyError as error:
        raise Failed(
            f"Failed to lookup RunAs user '{user}'. Looks like user does not exist. For RunAs to work "
            "properly, contact admin of VM and make sure RunAs user is added on the VM and user has access "
            "to resources accessed by the Run Command (Directories, Files, Network etc.). Refer: "
            "https://aka.ms/RunCommandManagedLinux"
        ) from error


def become(account: Any) -> None:
    """Make this process the account's, for good."""
    os.initgroups(account.pw_name, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    os.environ.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)


def write_again(script: Path, content: bytes) -> None:
    """A copy of a script, in the home of who runs it: the agent's directory is root's alone."""
    script.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if script.exists():
        script.unlink()
    script.write_bytes(content)
    script.chmod(0o500)
    os.chdir(str(script.parent))


def started(pid: int) -> str:
    """When a process began, in the kernel's ticks; '' when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def run() -> None:
    main(Commands)
