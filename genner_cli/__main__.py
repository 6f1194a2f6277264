"""`python -m genner_cli` is `genner`."""

from genner_cli.commands import main

main()
