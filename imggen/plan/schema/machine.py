"""What a machine is, as far as a plan needs to know."""

from dataclasses import dataclass
from typing import Literal

Device = Literal["cuda", "mps", "cpu"]
Dtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """A GPU. `free_bytes` is what its driver says is free now; `capability` is CUDA's (major, minor)."""

    device: Literal["cuda", "mps"]
    name: str
    total_bytes: int
    free_bytes: int
    capability: tuple[int, int] | None = None
    bfloat16: bool = False


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine that a plan is made for.

    `cpu_bfloat16` means that the processor multiplies bfloat16 in hardware (AMX or AVX512-BF16);
    `memory_bytes` and `free_bytes` are main memory, the smaller of the system's and the control group's;
    `torch` is the installed version, read without importing it.
    """

    system: str
    architecture: str
    cpu_name: str
    cpu_cores: int
    cpu_bfloat16: bool
    cpu_reason: str
    memory_bytes: int
    free_bytes: int
    torch: str
    accelerators: tuple[Accelerator, ...] = ()

    def accelerator(self, device: str) -> Accelerator | None:
        """Return the first accelerator of the kind `device`, if there is one."""
        return next((accelerator for accelerator in self.accelerators if accelerator.device == device), None)
