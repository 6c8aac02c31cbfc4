"""`sluice audit …`: what an auditor asks of the log."""

import argparse

from cli.commands import audit_export


def add(sub: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]
    p = sub.add_parser("audit", help="the log as an auditor needs it: export")
    commands = p.add_subparsers(dest="verb", required=True, metavar="VERB")
    audit_export.add(commands)
