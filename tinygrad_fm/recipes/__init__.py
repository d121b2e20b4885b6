"""The models that this project reproduces, by name."""

from tinygrad_fm.recipes import cnn, cnn_bn, mlp, sigmoid_mlp
from tinygrad_fm.recipes.recipe import Recipe
from tinygrad_fm.recipes.run import Run, run

RECIPES: dict[str, Recipe] = {
    module.RECIPE.name: module.RECIPE for module in (sigmoid_mlp, mlp, cnn, cnn_bn)
}

__all__ = ["RECIPES", "Recipe", "Run", "run"]
