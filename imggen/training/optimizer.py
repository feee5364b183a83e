"""Optimizers: AdamW, and Muon for the matrices with AdamW for the rest."""

from typing import Any

import torch
from torch import nn

from imggen.plan.training.recipe import StagePlan


class Optimizer:
    """One or two torch optimizers that step together at one learning rate.

    Muon (Jordan 2024; scaled to AdamW's update size as in arXiv 2502.16982) takes matrices; a convolution's kernel is
    one matrix of (out, in x height x width), seen through a view that shares its memory.
    """

    def __init__(self, plain: list[nn.Parameter], matrices: list[nn.Parameter], stage: StagePlan) -> None:
        self._plain = plain
        self._matrices = matrices
        self._views = [nn.Parameter(matrix.detach().view(matrix.shape[0], -1)) for matrix in matrices]
        rate, decay = stage.learning_rate, stage.weight_decay
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(plain, lr=rate, betas=(0.9, 0.99), weight_decay=decay, fused=True)
        ]
        if self._views:
            muon = torch.optim.Muon(self._views, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
            self._parts.append(muon)

    def set_learning_rate(self, rate: float) -> None:
        """Use `rate` from the next step on."""
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = rate

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for view, matrix in zip(self._views, self._matrices, strict=True):
            view.grad = None if matrix.grad is None else matrix.grad.reshape(view.shape)
        for part in self._parts:
            part.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in (*self._plain, *self._matrices, *self._views):
            parameter.grad = None

    def state_dict(self) -> list[dict[str, Any]]:
        """Return the state of every part, in order."""
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Take back what `state_dict` returned."""
        for part, state in zip(self._parts, states, strict=True):
            part.load_state_dict(state)


def build(module: nn.Module, stage: StagePlan) -> Optimizer:
    """Return the stage's optimizer for the module's trainable parameters.

    Embedding tables, biases, norms, and the first and last layers' small kernels stay with AdamW.
    """
    trainable = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    if stage.optimizer == "adamw":
        return Optimizer([parameter for _, parameter in trainable], [], stage)
    edges = ("embedding.weight", "conv_in", "conv_out", "add_embedding")
    chosen = {name for name, parameter in trainable if parameter.ndim >= 2 and not any(edge in name for edge in edges)}
    plain = [parameter for name, parameter in trainable if name not in chosen]
    return Optimizer(plain, [parameter for name, parameter in trainable if name in chosen], stage)
