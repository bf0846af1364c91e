"""`python -m server`: the same as the command `ideo`."""

from server.cli.main import main

if __name__ == "__main__":
    main()
