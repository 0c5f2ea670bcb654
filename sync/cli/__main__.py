"""`python -m sync.cli`: the command `inbox-sync`."""

from sync.cli import main

main()
