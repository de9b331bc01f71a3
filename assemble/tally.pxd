"""The assembler's counters, named once: the compiled core counts by number, everybody else reads the same names."""

from libc.stdint cimport uint64_t


cpdef enum Tally:
    # frames: decoded + joined + held + lost + every refusal = frames taken from the ring + packets_aggregated
    frames_decoded
    frames_joined             # IP fragments that became part of a datagram, all but the one that completed it
    fragments_held            # a level: of datagrams of which pieces are missing (assemble/fragments.pyx)
    packets_aggregated        # in frames that carry several (802.11 A-MSDU): all but the first of each
    refused_link_header       # too short for its link layer, or an unknown link type
    refused_not_ip            # ARP, LLDP and whatever else is neither IPv4 nor IPv6
    refused_ip_header         # a length or version field that cannot be
    refused_ip_fragment       # malformed, or its datagram was given up
    refused_not_tcp           # nor a tunnel that is unwrapped
    refused_tunnel            # the header of a tunnel with something in it that cannot be, or too many tunnels
    refused_checksum          # the receiver drops it too
    refused_tcp_header
    refused_port              # TCP, but neither port is watched
    refused_host              # neither address is wanted
    refused_own               # what the run itself sends to an output
    refused_sampled           # of a connection that the sample leaves out
    frames_lost               # a process that was killed was working on them, or held their fragments
    # segments: the classes add up to segments_data
    segments_data             # with payload
    segments_control          # without
    segments_in_order
    segments_reordered        # early: waits for what is before it
    segments_duplicate        # nothing new in it
    segments_overlapping      # some new, some already seen
    segments_after_close      # beyond a FIN or RST
    segments_out_of_window    # further ahead than any window allows
    segments_left_out         # of a connection that is not wanted for who opened it
    segments_lost             # a process that was killed was working on them
    # payload bytes: in messages + duplicate + every skip = bytes_payload
    bytes_payload
    bytes_in_messages
    bytes_duplicate
    skipped_not_http          # a direction that begins with nothing known, or in step but no message starts there
    skipped_proxy_header      # PROXY protocol, before the first message
    skipped_tls               # by their first bytes (assemble/protocols.pyx): TLS or SSL
    skipped_http2             # HTTP/2 with prior knowledge
    skipped_http09            # HTTP/0.9
    skipped_ssh
    skipped_mail_or_ftp       # SMTP, POP3, IMAP or FTP
    skipped_redis
    skipped_memcached
    skipped_mysql
    skipped_postgresql
    skipped_mongodb
    skipped_amqp
    skipped_mqtt
    skipped_rtsp
    skipped_sip
    skipped_icap
    skipped_fastcgi
    skipped_ajp
    skipped_socks
    skipped_mssql
    skipped_ldap
    skipped_rdp
    skipped_smb
    skipped_dns
    skipped_vnc
    skipped_no_start          # joined late or behind a hole: looking for the next message start
    skipped_bad_length        # a header block whose Content-Length or Transfer-Encoding is invalid
    skipped_blank_lines       # empty lines before a start line (RFC 9112 2.2)
    skipped_cut_start         # a start line that was never finished
    skipped_tunnel            # after 101 or a successful CONNECT, of no known protocol
    skipped_after_close
    skipped_out_of_window
    skipped_left_out
    skipped_over_limit        # of a message beyond max_message
    skipped_long_header       # a header block beyond max_header
    skipped_responses_off     # responses are not wanted
    skipped_evicted           # the machine had no memory to keep them
    skipped_lost              # a process that was killed held them
    # holes
    holes                     # declared lost
    bytes_missing             # in them
    bytes_conflicting         # overlapped with other content; the bytes first seen were kept
    bytes_cut_by_snap_length
    # messages: complete + incomplete = messages
    messages
    messages_complete
    messages_incomplete
    requests
    responses
    responses_interim         # of the responses: 1xx
    responses_unpaired        # of the responses: no request was seen for them
    # flows
    flows
    flows_now                 # a level
    flows_evicted
    flows_idle                # ended by idle_timeout
    bytes_held                # a level: reassembly and unfinished messages
    bytes_held_peak
    # not a counter: their number
    TALLIES


cdef inline void count(uint64_t* tally, int which, uint64_t amount) noexcept nogil:
    """Add to one counter."""
    tally[which] += amount
