"""What this machine is: processor, memory, accelerators. Torch is imported only where an accelerator may be."""

import importlib.metadata
import importlib.util
import math
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

import psutil

from imggen.host.environment import importing, quiet
from imggen.plan.schema.machine import Accelerator, Machine

BFLOAT16_FLAGS = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16"}
# cgroup v1 writes this much, give or take a page, for "no limit".
NO_LIMIT_BYTES = 1 << 60


def machine(*, root: Path = Path("/")) -> Machine:
    """Return what this machine is now; `root` is where `/proc`, `/sys` and `/dev` are looked for."""
    name, flags = _processor(root)
    bfloat16, reason = cpu_bfloat16(flags, platform.machine())
    limit, used = _cgroup_memory(root)
    memory = psutil.virtual_memory()
    return Machine(
        system=platform.system(),
        architecture=platform.machine(),
        cpu_name=name,
        cpu_cores=cores(root=root),
        cpu_bfloat16=bfloat16,
        cpu_reason=reason,
        memory_bytes=min(memory.total, limit),
        free_bytes=min(memory.available, max(0, limit - used)),
        torch=version("torch"),
        accelerators=_accelerators(root),
    )


def prefers_half(dtype: str | None, machine: Machine) -> bool:
    """Return whether half-precision weights serve a run best: in `dtype`, or in what `machine` would choose."""
    return dtype not in ("float32", "fp32") and (machine.cpu_bfloat16 or bool(machine.accelerators))


def version(package: str) -> str:
    """Return the installed version of `package` without importing it, or `missing`."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"


def cores(*, root: Path = Path("/")) -> int:
    """Return how many cores this process may keep busy: the scheduler's affinity, cut to the control group's quota."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_cores(root)
    return max(1, min(allowed, math.ceil(quota))) if quota else max(1, allowed)


def cpu_bfloat16(flags: frozenset[str], architecture: str) -> tuple[bool, str]:
    """Return whether the processor multiplies bfloat16 in hardware, and the reason in words.

    Plain AVX-512 and ARM cores compute it by conversion, which is slower than float32.
    """
    extensions = [name for flag, name in BFLOAT16_FLAGS.items() if flag in flags]
    if extensions:
        return True, f"the processor has {' and '.join(extensions)}"
    return False, f"the {architecture} processor has neither {' nor '.join(BFLOAT16_FLAGS.values())}"


def _processor(root: Path) -> tuple[str, frozenset[str]]:
    text = _read(root / "proc/cpuinfo")
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, re.MULTILINE)
    words = frozenset(flags.group(1).split()) if flags else frozenset()
    return (name.group(1).strip() if name else platform.processor() or platform.machine()), words


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _cgroups(root: Path) -> list[Path]:
    # In a container the process's own group is usually mounted as the root, so both places are worth a look; what holds
    # for a group holds for those within it.
    places = [root / "sys/fs/cgroup"]
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, group = [*line.split(":", 2), "", "", ""][:3]
        base = root / "sys/fs/cgroup" / controllers if controllers else root / "sys/fs/cgroup"
        names = [part for part in group.strip().split("/") if part not in ("", "..")]
        places += [base.joinpath(*names[:depth]) for depth in range(len(names) + 1)]
    return list(dict.fromkeys(places))


def _cgroup_memory(root: Path) -> tuple[int, int]:
    """Return the smallest memory limit that holds for this process, and what counts against it now, in bytes.

    `memory.high` is no wall, but beyond it the kernel makes a process wait for as long as it takes to push it back.
    """
    limits = [(NO_LIMIT_BYTES, 0)]
    for place in dict.fromkeys([*_cgroups(root), root / "sys/fs/cgroup/memory"]):
        for limit_name, used_name, prefix in (
            ("memory.max", "memory.current", ""),
            ("memory.high", "memory.current", ""),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
        ):
            limit = _read(place / limit_name).strip()
            if limit.isdigit() and int(limit) < NO_LIMIT_BYTES:
                used = int(_read(place / used_name).strip() or 0)
                limits.append((int(limit), max(0, used - _cached(place / "memory.stat", prefix))))
    return min(limits, key=lambda limit: limit[0] - limit[1])


def _cached(path: Path, prefix: str) -> int:
    """Return the bytes of files that count as used, yet that the kernel gives up before anything else."""
    text = _read(path)
    matches = (re.search(rf"^{prefix}{name} (\d+)$", text, re.MULTILINE) for name in ("inactive_file", "active_file"))
    return sum(int(match.group(1)) for match in matches if match)


def _cgroup_cores(root: Path) -> float | None:
    quotas = []
    for place in [*_cgroups(root), root / "sys/fs/cgroup/cpu"]:
        words = _read(place / "cpu.max").split() or [
            _read(place / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")
        ]
        if len(words) == 2 and all(word.isdigit() for word in words) and int(words[1]):
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def has_accelerator(*, root: Path = Path("/")) -> bool:
    """Return whether there are signs of an accelerator: a device file of a GPU's driver, or Apple's own chip."""
    files = (*(root / "dev").glob("nvidia[0-9]*"), root / "dev/dxg", root / "dev/kfd")
    return any(file.exists() for file in files) or (sys.platform == "darwin" and platform.machine() == "arm64")


def _accelerators(root: Path) -> tuple[Accelerator, ...]:
    # Windows has no such files, so only torch can tell.
    if not (has_accelerator(root=root) or sys.platform == "win32") or importlib.util.find_spec("torch") is None:
        return ()
    # Torch takes seconds to import, so machines without a sign of an accelerator never pay for it here.
    with importing():
        import torch
    with quiet():
        return (*cuda(torch), *mps(torch))


def cuda(torch: Any) -> tuple[Accelerator, ...]:
    """Return the CUDA (or ROCm) devices that `torch` can use."""
    if not torch.cuda.is_available():
        return ()
    return tuple(_cuda_device(torch, index) for index in range(torch.cuda.device_count()))


def _cuda_device(torch: Any, index: int) -> Accelerator:
    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    with torch.cuda.device(index):
        # The default argument counts emulation as support, which is slower than float32.
        bfloat16 = bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return Accelerator(
        device="cuda",
        name=properties.name,
        total_bytes=total,
        free_bytes=free,
        capability=(properties.major, properties.minor),
        bfloat16=bfloat16,
    )


def mps(torch: Any) -> tuple[Accelerator, ...]:
    """Return Apple's GPU, if `torch` can use it; its memory is the main memory's share that Metal recommends."""
    if not torch.backends.mps.is_available():
        return ()
    total = int(torch.mps.recommended_max_memory())
    free = max(0, total - int(torch.mps.driver_allocated_memory()))
    name, free = platform.processor() or "Apple GPU", min(free, psutil.virtual_memory().available)
    bfloat16 = _mps_bfloat16(torch)
    return (Accelerator(device="mps", name=name, total_bytes=total, free_bytes=free, bfloat16=bfloat16),)


def _mps_bfloat16(torch: Any) -> bool:
    if not torch.backends.mps.is_macos_or_newer(14, 0):
        return False
    try:
        torch.ones(1, dtype=torch.bfloat16, device="mps")
    except (RuntimeError, TypeError):
        return False
    return True
