"""The command line: everything an operator or a developer does by hand.

    creto init && creto dev                      # the whole layer in one process
    creto agents register --name planner         # an identity, its key in the local keystore
    creto audit prove EVENT_ID > proof.json      # a proof ...
    creto verify --keys trust.json proof.json    # ... that anybody can check

A command works on the configured installation (creto.toml), or with `--url` on one that runs elsewhere; both go through the SDK. The
exit codes stand in `exits`. A command's module is loaded when the command is called: `creto --help` loads none.
"""

from creto.cli.root import main

__all__ = ["main"]
