from typing import Any

from typing_extensions import Buffer

def decode(frame: Buffer, link: int = 1) -> dict[str, Any]: ...
