"""Link types: what can be decoded passes, what cannot is named."""

import pytest

from capture.errors import SourceError
from capture.links import SUPPORTED, linktype


@pytest.mark.parametrize("link", SUPPORTED)
def test_supported_links_keep_their_number(link):
    """The assembler chooses its decoder by this number."""
    assert linktype(link, "a.pcap") == link


@pytest.mark.parametrize("alias", [12, 14])
def test_raw_ip_has_one_number(alias):
    """libpcap's number for raw IP depends on the system that it was built for."""
    assert linktype(alias, "a.pcap") == 101


@pytest.mark.parametrize(("link", "name"), [(195, "IEEE802_15_4_WITHFCS"), (9999, "a rare one")])
def test_others_are_refused_by_name(link, name):
    """The operator has to learn which link type it is, and which ones would do."""
    with pytest.raises(SourceError, match=rf"^a.pcap: cannot decode link type {link} \({name}\).* 1 \(ETHERNET\)"):
        linktype(link, "a.pcap")
