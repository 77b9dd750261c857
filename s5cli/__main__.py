"""`python -m s5cli` is `s5`."""

from s5cli.cli import main

if __name__ == "__main__":
    main()
