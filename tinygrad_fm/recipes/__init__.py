"""The models that this project reproduces, by name."""

from tinygrad_fm.errors import ExtractorError
from tinygrad_fm.recipes import (
    cnn,
    cnn_2conv,
    cnn_3conv,
    cnn_3conv_plus,
    cnn_5conv,
    cnn_bn,
    features_mlp,
    mlp,
    mlp_1hidden,
    mlp_deep,
    resnet,
    sigmoid_mlp,
)
from tinygrad_fm.recipes.recipe import Recipe
from tinygrad_fm.recipes.run import Run, run

RECIPES: dict[str, Recipe] = {
    module.RECIPE.name: module.RECIPE
    for module in (
        sigmoid_mlp,
        mlp,
        cnn,
        cnn_bn,
        cnn_2conv,
        cnn_3conv,
        cnn_3conv_plus,
        mlp_deep,
        mlp_1hidden,
        cnn_5conv,
        features_mlp,
        resnet,
    )
}

__all__ = ["RECIPES", "ExtractorError", "Recipe", "Run", "run"]
