"""Link types: which ones can be decoded, and how to name the others.  Source: pcap-linktype(7)."""

from typing import Final

from capture.errors import SourceError

SUPPORTED: Final = {
    105: "IEEE802_11",
    119: "IEEE802_11_PRISM",
    127: "IEEE802_11_RADIOTAP",
    163: "IEEE802_11_AVS",
    192: "PPI",
    0: "NULL",
    1: "ETHERNET",
    9: "PPP",
    50: "PPP_HDLC",
    51: "PPP_ETHER",
    100: "ATM_RFC1483",
    101: "RAW",
    104: "C_HDLC",
    107: "FRELAY",
    108: "LOOP",
    109: "ENC",
    113: "LINUX_SLL",
    117: "PFLOG",
    122: "IP_OVER_FC",
    138: "APPLE_IP_OVER_IEEE1394",
    166: "PPP_PPPD",
    204: "PPP_WITH_DIR",
    219: "MPLS",
    228: "IPV4",
    229: "IPV6",
    239: "NFLOG",
    240: "NETANALYZER",
    258: "PKTAP",
    274: "ETHERNET_MPACKET",
    276: "LINUX_SLL2",
}
"""LINKTYPE_ value -> name."""

ALIASES: Final = {11: 100, 12: 101, 14: 101}
"""libpcap's own numbers, where they are not the files': ATM_RFC1483, and RAW as on Linux and on OpenBSD."""

OTHERS: Final = {
    6: "IEEE802_5",
    7: "ARCNET_BSD",
    8: "SLIP",
    10: "FDDI",
    147: "USER0",
    187: "BLUETOOTH_HCI_H4",
    189: "USB_LINUX",
    195: "IEEE802_15_4_WITHFCS",
    201: "BLUETOOTH_HCI_H4_WITH_PHDR",
    220: "USB_LINUX_MMAPPED",
    227: "CAN_SOCKETCAN",
    249: "USBPCAP",
    252: "WIRESHARK_UPPER_PDU",
    253: "NETLINK",
}


def linktype(datalink: int, name: str) -> int:
    """Turn libpcap's data link into its LINKTYPE_ value; a SourceError names one that we cannot decode."""
    link = ALIASES.get(datalink, datalink)
    if link not in SUPPORTED:
        what = OTHERS.get(link, "a rare one")
        known = ", ".join(f"{number} ({each})" for number, each in SUPPORTED.items())
        raise SourceError(f"{name}: cannot decode link type {link} ({what}), only {known}")
    return link
