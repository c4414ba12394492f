"""The degradation of an option file as a mixture of recipes."""

from __future__ import annotations

from dataclasses import replace

from restore.degradation.recipe import Mixture, find_recipe
from restore.options.degradation import DegradationOptions, Recipe

DEFAULT = "restore_default"


def mixture_of(options: DegradationOptions | None) -> Mixture:
    """A name, names with weights, or keys; None is what the default model is trained with."""
    if options is None:
        return find_recipe(DEFAULT)
    mixture = _named(options)
    if options.recipe is None or options.reference_size is None:
        return mixture
    recipes = [replace(r, reference_size=options.reference_size) for r in mixture.recipes]
    return Mixture(tuple(recipes), mixture.probs)


def _named(options: DegradationOptions) -> Mixture:
    if options.recipe is None:
        return find_recipe(options.as_recipe())
    if isinstance(options.recipe, str):
        return find_recipe(options.recipe)
    recipes: list[Recipe] = []
    probs: list[float] = []
    for name, weight in options.recipe.items():
        mixture = find_recipe(name)
        total = sum(mixture.probs)
        recipes += mixture.recipes
        probs += [weight * p / total for p in mixture.probs]
    return Mixture(tuple(recipes), tuple(probs))
