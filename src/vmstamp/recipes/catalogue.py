"""The catalogue: what this room can build, as records in Azure's words for marketplace images."""

from __future__ import annotations

from dataclasses import dataclass

from vmstamp.errors import VmstampError


class RecipeError(VmstampError):
    """A recipe is unknown, or its disk could not be built: what failed, and what to do about it."""


@dataclass(frozen=True)
class Recipe:
    """A disk that can be built: its `name` on the command line, and publisher, offer and sku as in Azure.

    `generation` is the Hyper-V generation that boots it, `size` its virtual size in bytes unless another is
    asked for.
    """

    name: str
    title: str
    publisher: str
    offer: str
    sku: str
    generation: int
    size: int


RECIPES = (
    Recipe(
        name="debian-12",
        title="Debian 12 (bookworm), provisioned by cloud-init",
        publisher="Debian",
        offer="debian-12",
        sku="12-gen2",
        generation=2,
        size=4 << 30,
    ),
    Recipe(
        name="debian-12-waagent",
        title="Debian 12 (bookworm), provisioned by WALinuxAgent alone",
        publisher="vmstamp",
        offer="debian-12",
        sku="12-waagent-gen2",
        generation=2,
        size=4 << 30,
    ),
    Recipe(
        name="tiny",
        title="A Linux of one script that reports Ready within seconds, for tests of the fabric",
        publisher="vmstamp",
        offer="tiny",
        sku="tiny-gen2",
        generation=2,
        size=128 << 20,
    ),
)


def find_recipe(name: str) -> Recipe | None:
    """The recipe of that name."""
    return next((recipe for recipe in RECIPES if recipe.name == name), None)


def get_recipe(name: str) -> Recipe:
    """The recipe of that name; RecipeError, naming those that exist, when there is none."""
    recipe = find_recipe(name)
    if recipe is None:
        known = ", ".join(recipe.name for recipe in RECIPES)
        raise RecipeError(f"there is no recipe {name}", hint=f"the recipes are: {known}")
    return recipe
