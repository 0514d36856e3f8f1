"""A check that is a table: registry values that must be as they say, each with the edit that makes it so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vmstamp.guest.edits import DeleteValue, Edit, SetValue
from vmstamp.guest.facts import Facts, has_windows
from vmstamp.guest.finding import Check, Severity, Verdict, failed, passed, warned
from vmstamp.guest.windows.hive import Data, printable
from vmstamp.guest.windows.system import Windows

SHOWN = 3  # deviations that a sentence names
MAX_SHOWN = 60  # characters of a guest's text


@dataclass(frozen=True)
class Setting:
    """The value `name` of `key` in `hive` is one of `good`; the first is what a fix sets.

    `absent`: a missing value (or key) is good too. `fails`: a wrong one fails the check, else it warns.
    `good` empty: the value must not be there.
    """

    hive: str
    key: str
    name: str
    good: tuple[Data, ...]
    kind: str = "REG_DWORD"
    absent: bool = True
    fails: bool = False

    def problem(self, windows: Windows) -> str:
        """What is wrong, '' when nothing is."""
        data = windows.data(self.hive, self.key, self.name)
        if data is None:
            return "" if self.absent or not self.good else f"{self.name} is not set"
        if not self.good:
            return f"{self.name} is set"
        if any(_same(data, good) for good in self.good):
            return ""
        return f"{self.name} is {show(data)}"

    def edit(self, windows: Windows) -> Edit:
        path, key = windows.hive(self.hive).path, windows.key_path(self.hive, self.key)
        if not self.good:
            return DeleteValue(path, key, self.name)
        return SetValue(path, key, self.name, self.kind, self.good[0])


def service(name: str, *starts: int, absent: bool = True, fails: bool = False) -> Setting:
    """The service starts as one of `starts` (0 boot, 1 system, 2 automatic, 3 manual, 4 disabled)."""
    key = f"CurrentControlSet\\Services\\{name}"
    return Setting("SYSTEM", key, "Start", starts, absent=absent, fails=fails)


def show(data: Data) -> str:
    """A value as text for people: short, and printable."""
    text = str(data) if isinstance(data, int | str) else ", ".join(map(str, data))
    if isinstance(data, bytes):
        text = f"{len(data)} bytes"
    return printable(text, MAX_SHOWN)


def judge_settings(windows: Windows, settings: Iterable[Setting], good: str) -> Verdict:
    """One verdict over all: `good` is what is said when there is nothing to say."""
    wrong = [(setting, problem) for setting in settings if (problem := setting.problem(windows))]
    if not wrong:
        return passed(good)
    worst = next((setting for setting, _ in wrong if setting.fails), wrong[0][0])
    found = "; ".join(_name(setting, problem) for setting, problem in wrong[:SHOWN])
    if len(wrong) > SHOWN:
        found += f"; and {len(wrong) - SHOWN} more"
    return (failed if worst.fails else warned)(found, windows.place(worst.hive, worst.key, worst.name))


def edits_of(windows: Windows, settings: Iterable[Setting]) -> Iterator[Edit]:
    return (setting.edit(windows) for setting in settings if setting.problem(windows))


def settings_check(
    id: str,
    title: str,
    severity: Severity,
    why: str,
    source: str,
    settings: tuple[Setting, ...],
    good: str,
    mend: str,
) -> Check:
    def run(facts: Facts) -> Verdict:
        return judge_settings(windows_of(facts), settings, good)

    def fix(facts: Facts) -> Iterator[Edit]:
        return edits_of(windows_of(facts), settings)

    return Check(id, title, severity, why, source, has_windows, run, mend, fix=fix)


def windows_of(facts: Facts) -> Windows:
    assert facts.windows is not None, "a check of a Windows ran without one"
    return facts.windows


def _name(setting: Setting, problem: str) -> str:
    """The problem, told of which service where the value's name alone does not say it."""
    _, above, key = ("", "", *setting.key.split("\\"))[-3:]
    if key == "StartOverride":
        return f"{above}: {key}\\{problem}"
    return f"{key}: {problem}" if setting.name == "Start" else problem


def _same(data: Data, good: Data) -> bool:
    if isinstance(data, str) and isinstance(good, str):
        return data.casefold() == good.casefold()
    return data == good
