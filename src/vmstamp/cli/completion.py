"""What a shell completes: names of what a running stamp has, and files. A failure completes nothing.

In a cloud names are not asked for, which would sign in at every press of a key.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

import click
from click.shell_completion import CompletionItem

from vmstamp import settings
from vmstamp.cli.options import arm_client, chosen
from vmstamp.errors import VmstampError

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def names_of(kind: str) -> Complete:
    """Completes the names of the resources of a type, `Microsoft.X/types`, in the command's group."""

    def complete(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
        found: list[str] = []
        with suppress(VmstampError, OSError), context.scope(cleanup=False):
            found = _names(context, kind)
        return [CompletionItem(name) for name in found if name.startswith(word)]

    return complete


def _names(context: click.Context, kind: str) -> list[str]:
    if not chosen().is_stamp:
        return []
    if home := context.find_root().params.get("home"):
        os.environ[settings.HOME.variable] = home
    with arm_client(read_only=True) as arm:
        group = context.params.get("group") or settings.GROUP.text()
        return sorted(str(one["name"]) for one in arm.list_in_group(group, kind))


def complete_file(context: click.Context, parameter: click.Parameter, word: str) -> list[CompletionItem]:
    """Files, for what may be something else as well, as a URL."""
    return [CompletionItem(word, type="file")]


complete_vm = names_of("Microsoft.Compute/virtualMachines")
complete_image = names_of("Microsoft.Compute/images")
