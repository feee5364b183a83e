from tests.engine.conftest import make_plan
from tests.tiny_models import tiny_models

__all__ = ["make_plan", "tiny_models"]
