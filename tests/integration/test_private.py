"""What real jobs leave behind is for their owner alone, whatever the umask says (DESIGN 12)."""

import os
import stat
import subprocess
import sys
from pathlib import Path

from tests.integration.jobs import LIMIT_S, configuration, exchanges, reading
from tests.packets_files import write_pcap

OPENED = "import os, sys; os.umask(0); os.execv(sys.executable, [sys.executable, '-m', 'pipeline', *sys.argv[1:]])"


def run(directory: Path, *arguments: str) -> None:
    """Run the command with a umask that forbids nothing."""
    done = subprocess.run(
        [sys.executable, "-c", OPENED, *arguments],
        cwd=directory, env=os.environ | {"TMPDIR": str(directory)}, stdin=subprocess.DEVNULL,
        capture_output=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()


def test_every_file_that_a_job_makes_is_private(tmp_path: Path):
    """Each format, rotated and not, with its directories; the ledger; a new configuration; what is converted."""
    write_pcap(tmp_path / "in.pcap", exchanges(20))
    given = {"in.pcap", "m.toml"}
    configuration(
        tmp_path / "m.toml",
        reading("in.pcap"),
        *(
            f'type = "file"\npath = "{name}"\nformat = "{format_}"\ncompression = "{packed}"'
            for name, format_, packed in (
                ("a.jsonl", "jsonl", "none"), ("a.rec", "recording", "none"), ("a.rec.zst", "recording", "zstd"),
                ("a.gor", "gor", "none"), ("a.har", "har", "none"), ("%Y/%m/a.rec", "recording", "gzip"),
            )
        ),
        'type = "file"\npath = "small.jsonl"\nrotate_size = "1KiB"',
    )  # fmt: skip
    run(tmp_path, "run", "-q", "-c", "m.toml", "--ledger", "ledger.json")
    run(tmp_path, "init", "new.toml")
    run(tmp_path, "convert", "a.rec", "b.har")
    made = [path for path in tmp_path.rglob("*") if str(path.relative_to(tmp_path)) not in given]
    names = {path.name for path in made}
    assert {"a.jsonl", "a.rec", "a.rec.zst", "a.gor", "a.har", "ledger.json", "new.toml", "b.har"} <= names
    assert sum("small" in name for name in names) > 1
    for path in made:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path
