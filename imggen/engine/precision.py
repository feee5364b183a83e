"""The precisions of plans, as torch knows them."""

from typing import Final

import torch

from imggen.plan.schema.machine import Dtype

TORCH_DTYPES: Final[dict[Dtype, torch.dtype]] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
