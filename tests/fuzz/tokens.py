"""Pieces of HTTP that a program of segments can name by one byte, and that libFuzzer gets as its dictionary.

In: nothing.  Out: the pieces; run as a module it prints the dictionary file.
"""

from typing import Final

TOKENS: Final = (
    b"GET / HTTP/1.1\r\n", b"POST /x HTTP/1.1\r\n", b"HEAD /h HTTP/1.0\r\n", b"CONNECT a:1 HTTP/1.1\r\n",
    b"OPTIONS * HTTP/1.1\r\n", b"GET http://a/ HTTP/1.1\r\n", b"GET /0.9\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 101 S\r\n", b"HTTP/1.1 204 N\r\n",
    b"HTTP/1.1 304 N\r\n", b"HTTP/1.0 200 \r\n", b"HTTP/1.1 404\r\n", b"HTTP/1.1 103 E\r\n",
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: 30\r\n", b"Content-Length: 5, 5\r\n",
    b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n", b"content-length:10\n",
    b"Content-Length: 4000000000\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: chunked, gzip\r\n", b"Transfer-Encoding: identity\r\n", b"transfer-encoding:\r\n chunked\r\n",
    b"Connection: close\r\n", b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"Expect: 100-continue\r\n",
    b"Upgrade: h2c\r\n", b"Host: a\r\n", b"X: y\r\n z\r\n", b"A:b\n", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n",
    b"5\r\nabcde\r\n", b"0\r\n\r\n", b"0\r\nT: v\r\n\r\n", b"1;e=\"x\"\r\nz\r\n", b"ffffffffffffffff\r\n", b"1e\r\n",
    b"abcde", b"0123456789" * 3, b"x", b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde", b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"GET /" + b"a" * 700, b"X: " + b"h" * 300 + b"\r\n",
    b"\x16\x03\x01\x02\x00\x01", b"HTTP/1.", b"HTTP/1.1 ", b" HTTP/1.1", b"GET ", b"GE", b"T /", b"chunked", b"close",
    b"keep-alive", b"Proxy-Connection: ", b"M-SEARCH * HTTP/1.1\r\n", b"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nabc",
)  # fmt: skip


WORDS: Final = (
    b" and ", b" or ", b"not ", b" in ['", b" == '", b" !~ '", b" >= ", b"header('", b"param('", b"cookie('", b"method",
    b"target", b"path", b"query", b"host", b"status", b"kind", b"body", b"src", b"dst", b"sport", b"complete", b"size",
    b"'request'", b"10.0.0.0/8", b"2001:db8::/32", b"(?P<n>", b"\\g<n>", b"\\1", b"{2,3}", b"[^a-z]+", b"/**/", b"/*",
    b"[input]\n", b"[[output]]\n", b"[[output.rewrite]]\n", b"[[output.mask]]\n", b'type = "', b"tcp", b"file", b"live",
    b"http", b"null", b'"1MiB"', b'"10ms"', b"true", b"[80, 8080]", b'"127.0.0.1:0"', b"\0output.0.", b'"""', b"= {",
    b"1e400",
    b'{"log":{"entries":[', b'"payload":"', b'"request":{', b"1 0000000000000001 1700000000000000000 5\n",
    b"\n\xf0\x9f\x90\xb5\xf0\x9f\x99\x88\xf0\x9f\x99\x89\n", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"Cookie: ",
    b"token=",
    b"Content-Type: application/json\r\n", b"Content-Encoding: gzip\r\n", b"multipart/form-data; boundary=",
)  # fmt: skip
"""What users and other programs write."""


def dictionary() -> str:
    """Give tokens and words in libFuzzer's notation."""
    return "".join('"' + "".join(f"\\x{byte:02x}" for byte in token[:60]) + '"\n' for token in TOKENS + WORDS)


if __name__ == "__main__":
    print(dictionary(), end="")
