import pytest

from imggen.errors import ModelError
from imggen.plan.models import config_limits


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"num_hidden_layers": 10**40}, "num_hidden_layers in its config is a number of 133 bits"),
        ({"n_layer": 1001}, "n_layer in its config is 1001"),
        ({"layers_per_block": [2, 5000]}, "layers_per_block in its config is 5000"),
        ({"text_config": {"num_hidden_layers": 20_000}}, "num_hidden_layers in its config is 20000"),
    ],
)
def test_more_layers_than_any_model_has_are_refused(config, told):
    with pytest.raises(ModelError, match=f"unet of m asks for more layers than any model has: {told}"):
        config_limits.check("unet of m", config)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"num_layers": 128, "num_single_layers": 80, "max_window_layers": 80},
        {"vision_feature_layer": -2, "num_layers": None, "n_layers": True},
        {"hidden_size": 10**6, "layer_norm_eps": 1e-5, "text_config": {"num_hidden_layers": 80}},
    ],
)
def test_what_models_have_is_taken(config):
    config_limits.check("unet of m", config)
