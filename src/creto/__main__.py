"""`python -m creto` is `creto`."""

from creto.cli import main

main()
