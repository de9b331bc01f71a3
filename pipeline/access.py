"""What is wrong between the keys that say who may send, and how that is proved.

In: a `Config`.  Out: nothing, or a `CombinationError`, which names a key and says what to write.
"""

from typing import Final

from pipeline.config import Config
from pipeline.inputs import TcpInput
from pipeline.outputs import HttpOutput, TcpOutput, TlsOutput
from pipeline.table import CombinationError
from pipeline.values import is_loopback, read_address, read_url

OF_TLS: Final = ("verify", "ca", "server_name", "certificate", "key")


def check_access(config: Config) -> None:
    """Raise `CombinationError` for a key without the one that it goes with, and for a door that is open by mistake."""
    if isinstance(config.input, TcpInput):
        _check_input(config.input)
    for at, output in enumerate(config.output):
        if isinstance(output, TlsOutput):
            _check_tls(f"output.{at}", output)
        if isinstance(output, TcpOutput):
            _check_login(f"output.{at}", output)


def _check_input(source: TcpInput) -> None:
    for key in ("key", "client_ca"):
        if getattr(source, key) is not None and source.certificate is None:
            raise CombinationError(f"input.{key}", getattr(source, key), "it needs a certificate")
    _check_one("input", source, "shared_key")
    keyed = source.shared_key_file is not None or source.shared_key_env is not None
    if source.users_file is not None and not keyed:
        raise CombinationError("input.users_file", source.users_file, "it needs a shared_key_file")
    public = not is_loopback(read_address(source.listen)[0])
    if public and not (keyed or source.client_ca is not None or source.open_to_all):
        advice = "anybody who reaches it could send: write shared_key_file, or client_ca, or open_to_all = true"
        raise CombinationError("input.listen", source.listen, advice)


def _check_tls(place: str, output: TlsOutput) -> None:
    if output.key is not None and output.certificate is None:
        raise CombinationError(f"{place}.key", output.key, "it needs a certificate")
    if isinstance(output, HttpOutput):
        with_tls, advice = read_url(output.address).tls, "the address has no TLS: write https://, or leave this key out"
    else:
        with_tls, advice = getattr(output, "tls", False), "there is no TLS: write tls = true, or leave this key out"
    for name in OF_TLS:
        if name in output.model_fields_set and not with_tls:
            raise CombinationError(f"{place}.{name}", getattr(output, name), advice)


def _check_login(place: str, output: TcpOutput) -> None:
    for what in ("shared_key", "password"):
        _check_one(place, output, what)
    keyed = output.shared_key_file is not None or output.shared_key_env is not None
    if output.user is not None and not keyed:
        raise CombinationError(f"{place}.user", output.user, "it needs a shared_key_file")
    with_password = output.password_file is not None or output.password_env is not None
    if output.user is not None and not with_password:
        raise CombinationError(f"{place}.user", output.user, "it needs a password_file")
    if output.user is None and with_password:
        key = "password_file" if output.password_file is not None else "password_env"
        raise CombinationError(f"{place}.{key}", getattr(output, key), "it needs a user")


def _check_one(place: str, table: TcpInput | TcpOutput, what: str) -> None:
    """A secret is in one place only."""
    if getattr(table, f"{what}_file") is not None and getattr(table, f"{what}_env") is not None:
        advice = f"{what}_file is given too: write one of them"
        raise CombinationError(f"{place}.{what}_env", getattr(table, f"{what}_env"), advice)
