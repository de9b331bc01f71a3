"""Whether the files that TLS to a target needs are what they should be, before anything starts.

In: a `Config`.  Out: nothing, or a `ConfigError` that names the key.
"""

from capture.errors import ConfigError
from pipeline.config import Config
from pipeline.outputs import HttpOutput


def check_trust(config: Config) -> None:
    """Load the certificates and keys of all outputs once."""
    for at, output in enumerate(config.output):
        if isinstance(output, HttpOutput):
            _check(at, output)


def _check(at: int, output: HttpOutput) -> None:
    import ssl  # here, as most runs have no use for it

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    key = "ca"
    try:
        if output.ca is not None:
            context.load_verify_locations(output.ca)
        key = "certificate"
        if output.certificate is not None:
            context.load_cert_chain(output.certificate, output.key, password=_no_password)
    except (OSError, ValueError) as error:  # of the first of which SSLError is one
        what = "no PEM file with what is wanted here"
        if isinstance(error, FileNotFoundError | PermissionError):
            what = str(error.strerror).lower()
        path = output.ca if key == "ca" else output.certificate
        of_key = f" (or {output.key})" if key == "certificate" and output.key is not None else ""
        raise ConfigError(f"output.{at}.{key}: {path}{of_key}: {what}") from error


def _no_password() -> str:
    raise ValueError("the key has a password, and nobody is there to give it")
