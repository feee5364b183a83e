"""How many processor threads torch uses."""

import os

import torch

from imggen.host import probe


def limit() -> None:
    """Let torch use no more threads than this process may run at once, unless OMP_NUM_THREADS says otherwise.

    Torch counts the machine's cores; in a container with a quota that means threads that wait for each other.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(min(torch.get_num_threads(), probe.cores()))
