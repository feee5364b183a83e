"""What goes wrong, by kind, and the exit code of each kind."""

from typing import Final

EXIT_FAILED: Final = 1
EXIT_REQUEST: Final = 2
EXIT_MACHINE: Final = 3
EXIT_MODEL: Final = 4
EXIT_CHECK: Final = 5
EXIT_INTERRUPTED: Final = 130


class ImggenError(Exception):
    """A failure that imggen can explain.

    The message says what is so and quotes the offending value; the hint is something that the reader can paste or do.
    """

    exit_code: int = EXIT_FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class PictureError(ImggenError):
    """One picture came out wrong: not made of numbers, or blanked by its model. Another seed may well work."""


class RequestError(ImggenError):
    """The request is wrong: a bad value, an unknown name, an option that the model cannot take."""

    exit_code = EXIT_REQUEST


class MachineError(ImggenError):
    """The machine cannot: memory, device, or a missing extra."""

    exit_code = EXIT_MACHINE


class MemoryShortageError(MachineError):
    """Memory ran out while a picture was made: a plan that takes less may still make it."""


class ModelError(ImggenError):
    """The model cannot be had: missing, gated, corrupt or refused."""

    exit_code = EXIT_MODEL


class CheckError(ImggenError):
    """A check said no."""

    exit_code = EXIT_CHECK
