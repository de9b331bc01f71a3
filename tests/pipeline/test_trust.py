"""Files for TLS that are missing or wrong are found before a run starts, and named by their keys."""

from pathlib import Path

import pytest

from capture.errors import ConfigError
from pipeline.settings import parse
from pipeline.trust import check_trust
from tests.faults import Authority


def check(more: str) -> None:
    """Check the files of a configuration."""
    text = f'[input]\ntype = "file"\npath = "a"\n[[output]]\ntype = "http"\naddress = "https://h"\n{more}'
    check_trust(parse(text, "m.toml"))


def test_what_is_right_passes(tmp_path: Path):
    authority = Authority(tmp_path)
    certificate, key = authority.client()
    check(f'ca = "{authority.path}"\ncertificate = "{certificate}"\nkey = "{key}"\n')
    check("")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('ca = "{0}/none.pem"', "output.0.ca: {0}/none.pem: no such file or directory"),
        ('ca = "{0}/client.key"', "output.0.ca: {0}/client.key: no PEM file with what is wanted here"),
        ('certificate = "{0}/none"', "output.0.certificate: {0}/none: no such file or directory"),
        ('certificate = "{0}/ca.pem"', "output.0.certificate: {0}/ca.pem: no PEM file with what is wanted here"),
        (
            'certificate = "{0}/client.pem"\nkey = "{0}/other/client.key"',
            "output.0.certificate: {0}/client.pem (or {0}/other/client.key): no PEM file with what is wanted here",
        ),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, more: str, said: str):
    Authority(tmp_path).client()
    (tmp_path / "other").mkdir()
    Authority(tmp_path / "other").client()
    with pytest.raises(ConfigError) as caught:
        check(more.format(tmp_path))
    assert str(caught.value) == said.format(tmp_path)
