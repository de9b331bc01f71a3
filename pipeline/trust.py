"""Whether the files that TLS needs, and those with secrets, are what they should be, before anything starts.

In: a `Config`.  Out: nothing, or a `ConfigError` that names the key.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from capture.errors import ConfigError
from pipeline.config import Config
from pipeline.credentials import access, login, refuse_if_shared
from pipeline.inputs import TcpInput
from pipeline.outputs import TcpOutput, TlsOutput

if TYPE_CHECKING:
    import ssl

PRIVATE: Final = b"PRIVATE KEY-----"


def check_trust(config: Config) -> None:
    """Load the certificates and keys, and read the secrets, of the input and of all outputs once."""
    if isinstance(config.input, TcpInput):
        access(config.input)
        _check("input", "client_ca", config.input.client_ca, config.input.certificate, config.input.key)
    for at, output in enumerate(config.output):
        if isinstance(output, TcpOutput):
            login(at, output)
        if isinstance(output, TlsOutput):
            _check(f"output.{at}", "ca", output.ca, output.certificate, output.key)


def _check(place: str, name: str, authority: str | None, certificate: str | None, key: str | None) -> None:
    if authority is None and certificate is None:
        return
    import ssl  # here, as most runs have no use for it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority is not None:
        try:
            context.load_verify_locations(authority)
        except OSError as error:  # one of which SSLError is
            raise ConfigError(f"{place}.{name}: {authority}: {_fault(error)}") from error
    if certificate is not None:
        _check_pair(context, place, certificate, key)


def _check_pair(context: "ssl.SSLContext", place: str, certificate: str, key: str | None) -> None:
    """Load a certificate and its key, which is in the same file if none is named."""
    of_key = "certificate" if key is None else "key"
    holder = certificate if key is None else key
    from emit.secured import no_password  # here, as most have no use for it

    _check_private(f"{place}.{of_key}", holder)
    try:
        context.load_cert_chain(certificate, key, password=no_password)
    except ValueError as error:
        advice = f"write one without: openssl pkey -in {holder} -out NEW"
        raise ConfigError(f"{place}.{of_key}: {holder}: the key has a password: {advice}") from error
    except OSError as error:
        if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
            what = f"it is not the key of {certificate}"
            raise ConfigError(f"{place}.{of_key}: {holder}: {what}") from error
        also = f" (or {key})" if key is not None else ""
        raise ConfigError(f"{place}.certificate: {certificate}{also}: {_fault(error)}") from error


def _check_private(place: str, file: str) -> None:
    try:
        if PRIVATE in Path(file).read_bytes():
            refuse_if_shared(place, file, Path(file).stat())
    except OSError as error:
        raise ConfigError(f"{place}: {file}: {_fault(error)}") from error


def _fault(error: OSError) -> str:
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return str(error.strerror).lower()
    return "no PEM file with what is wanted here"
