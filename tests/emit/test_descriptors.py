"""The limit of descriptors."""

import resource

from emit.descriptors import raise_descriptor_limit


def test_the_limit_is_raised_as_far_as_it_goes():
    """Shells begin with 1024, and a receiver may be told to serve 10,000 connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
        raise_descriptor_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
