"""Rules in their order: who is asked, what each sees, and what is counted."""

from assemble.message import Message
from emit.ruling import Rule, Rules
from tests.emit.builders import request, response


class Appending(Rule):
    """Appends to the bytes of a message; those of responses it cannot look into."""

    def change(self, message: Message) -> Message:
        if message.kind == "response":
            self.missed += 1
        return message.replace(payload=message.payload + b"x")


def test_each_rule_sees_what_those_before_it_have_made():
    rules = Rules([Appending(None, None), Appending(f"size > {len(request(1).payload)}", None)], "undecoded")
    (changed,) = rules.apply(request(1), 0.0)
    assert changed.payload == request(1).payload + b"xx"


def test_rules_know_of_requests_that_they_do_not_change():
    rules = Rules([Appending("path == '/a'", None)], "undecoded")
    found = [rules.apply(each, 0.0)[0].payload.endswith(b"x") for each in (
        request(1, target="/a"), request(2, target="/b"), response(2), response(1),
    )]  # fmt: skip
    assert found == [True, False, False, True]


def test_what_was_missed_is_counted_once():
    rules = Rules([Appending(None, None), Appending(None, None)], "withheld")
    rules.apply(response(1), 0.0)
    assert rules.take_counts() == {"withheld": 2}
    assert rules.take_counts() == {"withheld": 0}
