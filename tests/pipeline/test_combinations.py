"""Keys that are right by themselves and cannot go together are refused, with the place and what to write."""

import pytest

from tests.pipeline.configurations import FILE, HTTP, NULL, PCAP, TCP, fault

HOW = "it says how, not how many"


@pytest.mark.parametrize(
    ("text", "key", "advice"),
    [
        (PCAP + '[[output]]\ntype = "file"\npath = "o"\n' * 2, "output.1.path", "output.0.path is the same"),
        (PCAP + '[[output]]\ntype = "file"\npath = "./a.pcap"\n', "output.0.path", "input.path is the same"),
        (
            PCAP + '[[output]]\ntype = "file"\npath = "o"\ncompression = "gzip"\n',
            "output.0.compression",
            "only recordings are compressed",
        ),
        *[
            (
                PCAP + f'[[output]]\ntype = "file"\npath = "{path}"\nrotate_every = "90s"\n',
                "output.0.rotate_every",
                advice,
            )
            for path, advice in (("o", "always be the same"), ("%Y%m%d-%H%M", "a multiple of 60 s"))
        ],
        (PCAP + '[[output]]\ntype = "file"\npath = "100%.rec"\n', "output.0.path", 'write "%%" for a percent sign'),
        (
            PCAP + '[[output]]\ntype = "tcp"\naddress = "h:1"\nspool = { path = "s" }\n' * 2,
            "output.1.spool.path",
            "output.0.spool.path is the same: give each its own",
        ),
        (PCAP + '[[output]]\ntype = "stdout"\n' * 2, "output.1.type", "output.0.type is the same"),
        (
            TCP + '[[output]]\ntype = "tcp"\naddress = "127.0.0.1:24224"\n',
            "output.0.address",
            "the input listens on",
        ),
        (TCP + NULL + "[assemble]\nresponses = false\n", "assemble", "leave this table out"),
        (FILE + NULL + "[assemble]\nresponses = false\n", "assemble", '"file" input brings whole messages'),
        (FILE + '[[output]]\ntype = "file"\npath = "./a.rec"\n', "output.0.path", "input.path is the same"),
        (HTTP + "rate = 5\nspeed = 2\n", "output.0.rate", "write one of them"),
        (HTTP + 'ramp = "5s"\n', "output.0.ramp", "it needs a speed that is a number, or a rate"),
        (HTTP + 'key = "k.pem"\n', "output.0.key", "it needs a certificate"),
        (HTTP + "verify = false\n", "output.0.verify", "the address has no TLS"),
        (HTTP + 'copy_header = "X-Copy"\n', "output.0.copy_header", "it needs multiply"),
        (HTTP + "answers = true\n", "output.0.answers", "no other output is there to take them"),
        (HTTP + 'methods = ["GET "]\n', "output.0.methods.0", "write a method"),
        (HTTP + 'host = "a b"\n', "output.0.host", 'write "target", "captured"'),
        (HTTP + "speed = 0.01\n", "output.0.speed", 'write "max", or a factor from 0.1 to 1000'),
        (PCAP + NULL + '[ring]\nframes = "1MiB"\n', "ring.frames", "two batches do not fit"),
        (PCAP + NULL + '[ring]\nmessages = "1KiB"\n', "ring.messages", "write at least 65536"),
        (
            PCAP + '[[output]]\ntype = "tcp"\naddress = "h:0"\n',
            "output.0.address",
            "port 0 cannot be connected to",
        ),
    ],
)
def test_impossible_combinations_are_refused(text, key, advice):
    """Each key is right by itself; together they would loop, overwrite or stall."""
    line = fault(text)
    assert line.startswith(f"m.toml: {key}: ")
    assert advice in line
