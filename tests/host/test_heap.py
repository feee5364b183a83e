import ctypes
from pathlib import Path

import pytest

from imggen.host import heap


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_freed_memory_goes_back_to_the_system():
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("only the GNU C library keeps what can be given back")
    library = ctypes.CDLL(None)
    library.malloc.restype = ctypes.c_void_p
    # Too small for the system to be asked for each, and kept from the end of the heap by the last one.
    pieces = [library.malloc(ctypes.c_size_t(64 << 10)) for _ in range(1024)]
    for each in pieces:
        ctypes.memset(each, 1, 64 << 10)
    for each in pieces[:-1]:
        library.free(ctypes.c_void_p(each))
    before = resident()
    heap.trim()
    assert before - resident() > 48 << 20
    library.free(ctypes.c_void_p(pieces[-1]))
