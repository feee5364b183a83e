import pytest

from imggen.errors import RequestError
from imggen.plan.models import samplers


def test_default_means_the_models_own_scheduler():
    assert samplers.find("default", "noise") is None


def test_names_are_unique_and_default_comes_first():
    names = samplers.names()
    assert names[0] == "default"
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("prediction", ["noise", "flow", "flow_mu", "flow_fixed", "flow_own"])
def test_every_offered_sampler_is_found_and_every_other_refused(prediction):
    offered = set(samplers.names(prediction)) - {"default"}
    for name in set(samplers.names()) - {"default"}:
        if name in offered:
            assert samplers.find(name, prediction).class_name.endswith("Scheduler")
        else:
            with pytest.raises(RequestError, match="cannot drive this model"):
                samplers.find(name, prediction)


def test_flow_models_get_flow_sigmas():
    for name in ("euler", "dpmpp_2m", "dpmpp_2m_sde", "unipc"):
        arguments = samplers.find(name, "flow").arguments
        assert arguments["use_flow_sigmas"] is True
        assert arguments["prediction_type"] == "flow_prediction"


def test_an_unknown_sampler_gets_the_nearest_that_fits_the_model():
    with pytest.raises(RequestError, match="'eular_a'") as caught:
        samplers.find("eular_a", "noise")
    assert caught.value.hint.startswith("--sampler euler_a")
    with pytest.raises(RequestError) as caught:
        samplers.find("dpmpp_2n", "flow")
    assert caught.value.hint.startswith("--sampler dpmpp_2m,")
    assert "euler_a" not in caught.value.hint


def test_a_models_own_scheduler_is_called_by_its_name_where_it_is_exactly_that():
    config = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "solver_order": 2}
    config |= {"algorithm_type": "dpmsolver++", "beta_start": 0.1}
    assert samplers.recognise("DPMSolverMultistepScheduler", config, "flow") == "dpmpp_2m"
    assert samplers.recognise("DPMSolverMultistepScheduler", config | {"solver_order": 3}, "flow") == "default"
    assert samplers.recognise("PNDMScheduler", {"skip_prk_steps": True}, "noise") == "pndm"
    assert samplers.recognise("PNDMScheduler", {}, "noise") == "default"


def test_titles_are_those_of_the_web_ui():
    assert samplers.title("dpmpp_2m_karras") == "DPM++ 2M Karras"
    assert samplers.title("default") == "default"


@pytest.mark.parametrize(
    ("betas", "lost"),
    [
        # PixArt's, whose two steps give a timestep of NaN in diffusers 0.42.1.
        ({"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"}, [2]),
        # Stable Diffusion's
        ({"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}, []),
        ({"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear", "timestep_spacing": "trailing"}, []),
        ({"beta_start": 0, "beta_end": "much", "beta_schedule": ["linear"]}, []),
    ],
)
def test_a_sampler_that_loses_its_numbers_in_two_long_steps_is_told(betas, lost):
    assert [steps for steps in range(1, 6) if samplers.stumbles("dpm2_a", steps, betas)] == lost
    assert not any(samplers.stumbles("dpm2", steps, betas) for steps in range(1, 6))
