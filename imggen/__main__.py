"""`python -m imggen`."""

from imggen.cli.app import main

if __name__ == "__main__":
    main()
