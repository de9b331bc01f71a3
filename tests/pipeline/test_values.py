"""Values with a unit: what people write, and what comes back when it is nonsense."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import values


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("2s", 2.0),
        ("500ms", 0.5),
        ("1m", 60.0),
        ("1.5 h", 5400.0),
        ("250us", 0.00025),
        (3, 3.0),
        (0.25, 0.25),
        ("0s", 0),
    ],
)
def test_durations_are_read_in_every_unit(written, seconds):
    """A wrong factor would turn a timeout into an hour's wait."""
    assert values.read_duration_s(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("written", "percent"),
    [("10%", 10), ("0.01 %", 0.01), ("1/20", 5), ("1 / 8", 12.5), (7, 7), (0.5, 0.5), ("100%", 100), ("3/2", 150)],
)
def test_shares_are_read_in_every_way(written, percent):
    """One in twenty is five percent; the bounds are the field's."""
    assert values.read_percent(written) == pytest.approx(percent)


@pytest.mark.parametrize(
    "written", ["", "10", "%", "1/0", "1/", "-1%", "1/2/3", "10%%", True, None, [], "\N{ARABIC-INDIC DIGIT ONE}%"]
)
def test_what_is_no_share_is_said_to_be_none(written):
    """A sample that is not what was meant is found out days later."""
    with pytest.raises(ValueError, match='write a share like "10%" or "1/20"'):
        values.read_percent(written)


@pytest.mark.parametrize(
    ("written", "size"),
    [("64MiB", 2**26), ("512MB", 512_000_000), ("1 kib", 1024), ("1.5KiB", 1536), (4096, 4096), ("7B", 7)],
)
def test_sizes_are_read_in_every_unit(written, size):
    """Decimal and binary units differ by a twentieth and more."""
    assert values.read_size_bytes(written) == size


@pytest.mark.parametrize("written", ["", "2", "s", "2 weeks", "-1s", "2s3", "1e3s", True, None, [1], "400d", -1])
def test_other_durations_are_refused_with_advice(written):
    """The error line ends with what to write instead."""
    with pytest.raises(ValueError, match="write a duration"):
        values.read_duration_s(written)


@pytest.mark.parametrize("written", ["many", "0.3B", "-5MB", "1PB", False, 1.5, -1, 2**50])
def test_other_sizes_are_refused_with_advice(written):
    """Half a byte and a negative size are typing errors."""
    with pytest.raises(ValueError, match=r"write a (size|whole number)"):
        values.read_size_bytes(written)


@pytest.mark.parametrize(
    "written", ["", "host", ":80", "host:", "host:x", "a b:1", "::1:80", "[x]:1", "h:65536", "h:-1", "h:²"]
)
def test_what_is_no_address_is_refused(written):
    """A host without brackets around its colons could be read in two ways."""
    with pytest.raises(ValueError, match="host:port"):
        values.read_address(written)


@given(st.one_of(st.ip_addresses().map(str), st.just("staging.internal")), st.integers(0, 65535))
def test_addresses_come_back_as_written(host, port):
    """What is listened on is printed in the form in which it can be configured on the other side."""
    assert values.read_address(values.write_address(host, port)) == (host, port)


@given(st.integers(0, 2**40))
def test_a_size_that_is_written_short_stays_near(size):
    """Four digits are kept."""
    assert values.read_size_bytes(round(values.read_size_bytes(size))) == size
    number, unit = values.write_size(size).rstrip("KMGTiB"), values.write_size(size).lstrip("0123456789.e+")
    assert float(number) * values.BYTES[unit] == pytest.approx(size, rel=1e-3)


@pytest.mark.parametrize(
    ("seconds", "written"), [(0.05, "50ms"), (2.0, "2s"), (60.0, "1m"), (90.0, "90s"), (0.0, "0s")]
)
def test_durations_are_written_as_they_are_configured(seconds, written):
    """The template and `check` show values that can be copied into a file."""
    assert values.write_duration(seconds) == written
    assert values.read_duration_s(written) == seconds


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("http://h", (False, "h", 80, "", "h")),
        ("http://h:80/", (False, "h", 80, "", "h")),
        ("http://h:8080/a/b/", (False, "h", 8080, "/a/b", "h:8080")),
        ("https://h", (True, "h", 443, "", "h")),
        ("https://h:80", (True, "h", 80, "", "h:80")),
        ("http://[::1]:81/x", (False, "::1", 81, "/x", "[::1]:81")),
    ],
)
def test_a_url_says_where_to_send_to(written, expected):
    """Host has a port only if it is not the scheme's own, as a browser writes it."""
    assert values.read_url(written) == expected


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-01-31T12:00:00Z", (1_769_860_800 * 10**9, False)),
        ("2026-01-31 13:00:00.25+01:00", (1_769_860_800_250_000_000, False)),
        (datetime(2026, 1, 31, 12, tzinfo=UTC), (1_769_860_800 * 10**9, False)),
        (1_769_860_800, (1_769_860_800 * 10**9, False)),
        ("1769860800.123456789", (1_769_860_800_123_456_789, False)),
        (0.5, (500_000_000, False)),
        ("+10m", (600 * 10**9, True)),
        ("+ 0s", (0, True)),
    ],
)
def test_moments_are_read_as_people_name_them(written, moment):
    """To the nanosecond, where somebody writes so many."""
    assert values.read_moment(written) == moment


@pytest.mark.parametrize(
    "written",
    ["h:80", "ftp://h", "http://", "http://h:x", "http://h:0", "http://h:99999", "http://h/?a", "http://h/#a",
     "http://u:p@h", "http://h/a b", "http://h\x7f", "http://h\xe4", "", "http://[::1"],
)  # fmt: skip
def test_what_is_no_such_url_is_refused_with_advice(written):
    """A password would be in every log line that names the output."""
    with pytest.raises(ValueError, match=r"write a URL|no user and no password|write"):
        values.read_url(written)


@pytest.mark.parametrize(
    "written",
    ["", "noon", "2026-01-31T12:00:00", datetime(2026, 1, 31), "+x", "+400d", -1, 2**40, True, float("nan"), []],
)
def test_other_moments_say_what_to_write(written):
    """A time without a zone is another one elsewhere."""
    with pytest.raises(ValueError, match="write a "):
        values.read_moment(written)


def test_moments_are_written_in_plain_words():
    """As `pipeline check` says them."""
    assert values.write_moment((600 * 10**9, True)) == "10m after the first message"
    assert values.write_moment((1_769_860_800_250_000_000, False)) == "2026-01-31T12:00:00.250Z"


@pytest.mark.parametrize("written", ["hooks:mask", "a.b.c:d", "a:b.c", "a:_"])
def test_a_function_is_a_module_and_a_name(written):
    """With dots in either."""
    assert values.read_function(written) == written


@pytest.mark.parametrize("written", ["", ":", "hooks", "hooks:", ":f", "a-b:c", "a:b()", "a..b:c", "a:b:c", "a b:c"])
def test_what_is_no_function_is_said_to_be_none(written):
    """Before anybody looks for it."""
    with pytest.raises(ValueError, match='write "module:name"'):
        values.read_function(written)


def test_a_command_is_text_as_one_would_type_it_or_a_list():
    """Quotes keep together what belongs together."""
    assert values.read_command("./a 'b c' \"d\"") == ("./a", "b c", "d")
    assert values.read_command(["./a", "b c"]) == ("./a", "b c")
    assert values.read_command(7) == 7, "for the model to refuse"
    for written in ("", " ", [], [""]):
        with pytest.raises(ValueError, match="write a command"):
            values.read_command(written)
