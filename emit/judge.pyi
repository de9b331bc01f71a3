from assemble.message import Message
from emit.match import Matcher
from emit.verdicts import Verdicts

class Judge:
    def __init__(self, matcher: Matcher, verdicts: Verdicts) -> None: ...
    def wants(self, message: Message) -> bool: ...
