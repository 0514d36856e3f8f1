"""Recipes: disks built from a distribution's own packages, which are vmstamp's built-in marketplace.

The door: `RECIPES`, what can be built, and `build`, which builds it or finds it built before. Works as root
and as a plain user. `mirror` chooses where packages come from, `bootstrap` drives mmdebstrap, `layout` makes
the disk around the files, `debian` and `tiny` say what the guests are.

This room must not know: Azure's services, machines, the fabric, the command line.
"""

from vmstamp.recipes.build import build
from vmstamp.recipes.catalogue import RECIPES, Recipe, RecipeError, find_recipe, get_recipe

__all__ = ["RECIPES", "Recipe", "RecipeError", "build", "find_recipe", "get_recipe"]
