from collections.abc import Mapping

DIRECTIONS: Mapping[str, int]
