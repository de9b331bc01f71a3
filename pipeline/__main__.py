"""The command `pipeline`.  Spawned children import this module again: nothing heavy at its top level."""

import sys


def main() -> None:
    """Run the command line; exits with the command's exit code."""
    try:
        from pipeline.inherited import put_right

        put_right()
        from pipeline.cli import run_command_line

        run_command_line()
    except KeyboardInterrupt:  # while still importing
        sys.exit(130)
    except MemoryError:
        sys.stderr.write("pipeline: error: out of memory: allow more (ulimit -v, ulimit -d, MemoryMax)\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
