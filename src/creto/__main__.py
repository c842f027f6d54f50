"""`python -m creto` is the command line."""

from creto.cli import main

if __name__ == "__main__":
    main()
