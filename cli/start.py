"""The `sluice` command: nothing heavy is imported before Ctrl-C means what it should."""


def main() -> int:
    try:
        from cli.__main__ import main as command

        return command()
    except KeyboardInterrupt:
        return 130
