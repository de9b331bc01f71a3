"""Forms in bodies, as browsers and programs write them."""

import pytest

from emit.forms import change_form

SAID = b'multipart/form-data; boundary="a+b"'
BODY = (
    b'preamble\r\n--a+b\r\nContent-Disposition: form-data; name="token"\r\n\r\nsecret\r\nline\r\n--a+b\r\n'
    b'content-disposition:form-data;filename="token"; name=file\r\nContent-Type: text/plain\r\n\r\n--a+bc'
    b'\r\n--a+b\r\nContent-Disposition: form-data; name="a\\"b"\r\n\r\n\r\n--a+b--\r\nepilogue'
)


def hide(value: bytes) -> bytes:
    """Say how much was hidden."""
    return b"<%d>" % len(value)


def test_fields_of_these_names_are_exchanged():
    """The rest stays to the byte: boundaries, heads, what comes before and after."""
    assert change_form(BODY, SAID, {b"token"}, hide) == BODY.replace(b"secret\r\nline", b"<12>")
    assert change_form(BODY, SAID, {b"file"}, hide) == BODY.replace(b"--a+bc", b"<6>")
    assert change_form(BODY, SAID, {b'a"b'}, hide) == BODY.replace(b"\r\n\r\n\r\n--a+b--", b"\r\n\r\n<0>\r\n--a+b--")
    assert change_form(BODY, SAID, {b"other"}, hide) == BODY


def test_line_ends_may_be_bare():
    """Some programs write them so."""
    body = BODY.replace(b"\r\n", b"\n")
    assert change_form(body, SAID, {b"token"}, hide) == body.replace(b"secret\nline", b"<11>")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (BODY, b"multipart/form-data"),
        (BODY.replace(b"a+b--", b"a+b"), SAID),
        (b"", SAID),
        (BODY.replace(b'; name="token"', b""), SAID),
        (BODY.replace(b'"token"\r\n\r\n', b'"token"\r\n'), SAID),
    ],
)
def test_what_is_no_such_form_is_refused(body: bytes, said: bytes):
    """It may hold the field where nobody has looked."""
    with pytest.raises(ValueError):  # noqa: PT011  # the words are not shown to anybody
        change_form(body, said, {b"token"}, hide)


def test_the_other_kind_is_a_list_of_parameters():
    """As in a query."""
    said = b"application/x-www-form-urlencoded; charset=utf-8"
    assert change_form(b"a=1&token=s+t", said, {b"token"}, hide) == b"a=1&token=%3C3%3E"
