"""Disks that are built here: the recipes room behind one flow, its result kept under the home."""

from __future__ import annotations

from pathlib import Path

from vmstamp.cli.render import Reporter
from vmstamp.paths import Home


def built_disk(home: Home, recipe: str, report: Reporter, output: Path | None = None) -> Path:
    """The disk of a recipe, a dynamic VHDX under the home: found when it was built before, else built now.

    With `output` it is written there as well, in the format of its suffix. Raises RecipeError.
    """
    from vmstamp import recipes

    home.make()
    told = ""

    def progress(step: str, share: float) -> None:
        nonlocal told
        if step != told:
            report.say(f"{step} ({share:.0%})")
            told = step

    return recipes.build(recipe, output, home, progress)
