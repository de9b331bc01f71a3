from emit.lines import LineWriter

class Packer(LineWriter):
    records: int
    first_ns: int
    last_ns: int
    @property
    def about(self) -> tuple[int, int, int, int]: ...

def split(body: bytes | memoryview) -> tuple[list[tuple[int, int, int, int, bytes]], int]: ...
def hash_record(record: bytes | memoryview) -> tuple[int, int, int]: ...
