from emit.where import Expression

class Matcher:
    by_message: bool
    remembers: bool
    def __init__(self, expression: Expression) -> None: ...
