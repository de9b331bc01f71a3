"""Files for TLS that are missing or wrong are found before a run starts, and named by their keys."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

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
            "output.0.key: {0}/other/client.key: it is not the key of {0}/client.pem",
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


def test_a_key_that_others_can_read_is_refused(tmp_path: Path):
    """Whoever reads it is us from then on; also where it is in the certificate's file."""
    certificate, key = Authority(tmp_path).client()
    key.chmod(0o640)
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    both.chmod(0o604)
    for more, place, file in (
        (f'certificate = "{certificate}"\nkey = "{key}"\n', "key", key),
        (f'certificate = "{both}"\n', "certificate", both),
    ):
        with pytest.raises(ConfigError) as caught:
            check(more)
        assert str(caught.value) == f"output.0.{place}: {file}: not only its owner can read it: chmod 600 {file}"
    certificate.chmod(0o644)  # a certificate is for everybody
    key.chmod(0o400)
    check(f'certificate = "{certificate}"\nkey = "{key}"\n')


def test_a_key_with_a_password_is_refused_with_advice(tmp_path: Path):
    """Nobody is there to type it, and OpenSSL would ask at the terminal."""
    certificate, key = Authority(tmp_path).client()
    locked = serialization.load_pem_private_key(key.read_bytes(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"pass"),
    )
    key.write_bytes(locked)
    with pytest.raises(ConfigError) as caught:
        check(f'certificate = "{certificate}"\nkey = "{key}"\n')
    assert str(caught.value) == (
        f"output.0.key: {key}: the key has a password: write one without: openssl pkey -in {key} -out NEW"
    )


def test_the_files_of_the_input_are_looked_at_too(tmp_path: Path):
    """By the names that they have there."""
    authority = Authority(tmp_path)
    certificate, key = authority.client()
    text = '[input]\ntype = "tcp"\ncertificate = "{}"\nkey = "{}"\nclient_ca = "{}"\n[[output]]\ntype = "null"\n'
    check_trust(parse(text.format(certificate, key, authority.path), "m.toml"))
    with pytest.raises(ConfigError, match=r"^input\.client_ca: .*none\.pem: no such file"):
        check_trust(parse(text.format(certificate, key, tmp_path / "none.pem"), "m.toml"))
    with pytest.raises(ConfigError, match=r"^input\.key: .*: no such file"):
        check_trust(parse(text.format(certificate, tmp_path / "none", authority.path), "m.toml"))
