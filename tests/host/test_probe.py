import os
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import psutil
import pytest

from imggen.host import probe

CPUINFO = "processor\t: 0\nmodel name\t: Great CPU @ 3GHz\nflags\t\t: fpu sse avx512f {}\n\nprocessor\t: 1\n"


@pytest.fixture
def root(tmp_path):
    def build(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return build


def write(root, path, text):
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


@pytest.mark.parametrize(
    ("flags", "expected", "reason"),
    [
        ("amx_bf16", True, "has AMX"),
        ("avx512_bf16", True, "has AVX512-BF16"),
        ("amx_bf16 avx512_bf16", True, "AMX and AVX512-BF16"),
        ("avx512_vnni", False, "neither AMX nor AVX512-BF16"),
    ],
)
def test_bfloat16_needs_instructions_of_its_own(tmp_path, flags, expected, reason):
    write(tmp_path, "proc/cpuinfo", CPUINFO.format(flags))
    machine = probe.machine(root=tmp_path)
    assert (machine.cpu_bfloat16, machine.cpu_name) == (expected, "Great CPU @ 3GHz")
    assert reason in machine.cpu_reason


def test_a_machine_without_proc_is_still_a_machine(tmp_path):
    machine = probe.machine(root=tmp_path)
    assert not machine.cpu_bfloat16
    assert machine.cpu_name
    assert machine.memory_bytes == psutil.virtual_memory().total
    assert machine.accelerators == ()


GROUPS = {
    "v2": ("0::/\n", "sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    "v2 nested": ("0::/box/one\n", "sys/fs/cgroup/box/one", "memory.max", "memory.current", "inactive_file"),
    "v1": (
        "7:memory:/box\n",
        "sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
    ),
}


@pytest.mark.parametrize(("line", "place", "limit", "used", "cache"), GROUPS.values(), ids=GROUPS)
def test_a_control_groups_memory_counts_without_its_idle_cache(tmp_path, line, place, limit, used, cache):
    write(tmp_path, "proc/self/cgroup", line)
    write(tmp_path, f"{place}/{limit}", "1000000\n")
    write(tmp_path, f"{place}/{used}", "700000\n")
    write(tmp_path, f"{place}/memory.stat", f"anon 5\n{cache} 200000\n")
    machine = probe.machine(root=tmp_path)
    assert (machine.memory_bytes, machine.free_bytes) == (1_000_000, 500_000)


@pytest.mark.parametrize(
    ("version", "place", "limit", "used"),
    [
        ("0::{}\n", "sys/fs/cgroup", "memory.max", "memory.current"),
        ("0::{}\n", "sys/fs/cgroup", "memory.high", "memory.current"),
        ("4:memory:{}\n", "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ],
)
def test_the_limit_of_a_group_above_holds_too(tmp_path, version, place, limit, used):
    write(tmp_path, "proc/self/cgroup", version.format("/user/job/step"))
    write(tmp_path, f"{place}/user/job/step/{limit}", "9000000\n")
    write(tmp_path, f"{place}/user/job/step/{used}", "500000\n")
    write(tmp_path, f"{place}/user/{limit}", "2000000\n")
    write(tmp_path, f"{place}/user/{used}", "1500000\n")
    machine = probe.machine(root=tmp_path)
    assert (machine.memory_bytes, machine.free_bytes) == (2_000_000, 500_000)


def test_files_that_are_in_use_can_be_read_again_too(tmp_path):
    write(tmp_path, "sys/fs/cgroup/memory.max", "1000000\n")
    write(tmp_path, "sys/fs/cgroup/memory.current", "900000\n")
    write(tmp_path, "sys/fs/cgroup/memory.stat", "anon 100000\nfile 800000\ninactive_file 300000\nactive_file 500000\n")
    assert probe.machine(root=tmp_path).free_bytes == 900_000


def test_the_tightest_of_several_limits_is_the_one_with_the_least_left(tmp_path):
    write(tmp_path, "proc/self/cgroup", "0::/job\n")
    write(tmp_path, "sys/fs/cgroup/memory.max", "5000000\n")
    write(tmp_path, "sys/fs/cgroup/memory.current", "4900000\n")
    write(tmp_path, "sys/fs/cgroup/job/memory.max", "1000000\n")
    write(tmp_path, "sys/fs/cgroup/job/memory.current", "100000\n")
    assert probe.machine(root=tmp_path).free_bytes == 100_000


@pytest.mark.parametrize("text", ["max", "9223372036854771712", ""])
def test_no_limit_leaves_the_machines_memory(tmp_path, text):
    write(tmp_path, "sys/fs/cgroup/memory.max", text)
    assert probe.machine(root=tmp_path).memory_bytes == psutil.virtual_memory().total


def test_cores_are_cut_to_affinity_and_quota(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert probe.cores(root=tmp_path) == 8
    write(tmp_path, "sys/fs/cgroup/cpu.max", "150000 100000\n")
    assert probe.cores(root=tmp_path) == 2
    write(tmp_path, "sys/fs/cgroup/cpu.max", "max 100000\n")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert probe.cores(root=tmp_path) == 1


def test_versions_are_read_without_importing():
    assert probe.version("torch")[0].isdigit()
    assert probe.version("no-such-package") == "missing"


def torch_with_cuda(*, available=True):
    @contextmanager
    def device(index):
        yield

    return SimpleNamespace(
        cuda=SimpleNamespace(
            is_available=lambda: available,
            device_count=lambda: 2,
            get_device_properties=lambda index: SimpleNamespace(name=f"GPU {index}", major=7 + index, minor=5),
            mem_get_info=lambda index: (6 << 30, 8 << 30),
            is_bf16_supported=lambda including_emulation=True: including_emulation,
            device=device,
        )
    )


def test_cuda_devices_are_described_without_counting_emulated_bfloat16():
    first, second = probe.cuda(torch_with_cuda())
    assert (first.name, first.capability, second.capability) == ("GPU 0", (7, 5), (8, 5))
    assert (first.free_bytes, first.total_bytes) == (6 << 30, 8 << 30)
    assert not first.bfloat16


def test_a_torch_without_cuda_has_no_cuda_devices():
    assert probe.cuda(torch_with_cuda(available=False)) == ()


def torch_with_mps(*, macos=14, works=True):
    def ones(*shape, dtype, device):
        if not works:
            raise TypeError("BFloat16 is not supported on MPS")

    return SimpleNamespace(
        backends=SimpleNamespace(
            mps=SimpleNamespace(is_available=lambda: True, is_macos_or_newer=lambda major, minor: macos >= major)
        ),
        mps=SimpleNamespace(recommended_max_memory=lambda: 1 << 30, driver_allocated_memory=lambda: 1 << 20),
        bfloat16="bfloat16",
        ones=ones,
    )


@pytest.mark.parametrize(("macos", "works", "expected"), [(14, True, True), (13, True, False), (15, False, False)])
def test_metal_has_bfloat16_where_the_system_and_the_chip_do(macos, works, expected):
    (gpu,) = probe.mps(torch_with_mps(macos=macos, works=works))
    assert gpu.bfloat16 is expected
    assert gpu.total_bytes == 1 << 30
    assert gpu.free_bytes <= (1 << 30) - (1 << 20)


def test_probing_a_machine_without_a_sign_of_a_gpu_imports_no_torch(tmp_path):
    code = (
        "import sys, pathlib; from imggen.host import probe; probe.machine(root=pathlib.Path(sys.argv[1]));"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
