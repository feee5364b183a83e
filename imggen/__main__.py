"""`python -m imggen`, and the program `imggen`: it imports next to nothing before Ctrl-C is looked after."""

import os
import signal


def main() -> None:
    """Run the command line; Ctrl-C while it is still being imported ends it at once, since nothing is begun."""
    before = signal.getsignal(signal.SIGINT)
    # A shell that starts a program in the background has it ignore Ctrl-C.
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    from imggen.cli import app

    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, before)
    app.main()


def _leave(_number: int, _frame: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
