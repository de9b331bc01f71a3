"""The live chain, with nothing of ours at its ends: what wrk asks nginx for, another nginx is asked for too.

nginx in production, wrk, a live capture, TCP to a receiver in another namespace, replay to nginx in staging.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest

from tests.integration.jobs import COMMAND, LIMIT_S, wait_until
from tests.integration.mirrors import mirroring, until
from tests.integration.nginx import needs_nginx, nginx
from tests.namespace import needs_root, pair

pytestmark = [needs_root, needs_nginx, pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk")]

LISTEN: Final = 24224
CONNECTIONS: Final = 12
SCRIPT: Final = """
local number = 0
function request()
    number = number + 1
    local headers = {["X-Number"] = number, ["Cookie"] = "basket=" .. number % 17, ["User-Agent"] = "wrk"}
    if number % 5 == 0 then
        return wrk.format("POST", "/orders?of=" .. number, headers, string.rep("item " .. number .. ";", number % 900))
    end
    return wrk.format("GET", "/items/" .. number, headers)
end
function delay() return math.random(0, 5) end
"""


def anonymous(lines: list[list[dict[str, Any]]]) -> list[str]:
    """Give the log of each connection without what the servers said to it, in no particular order."""
    return sorted(
        json.dumps([{name: value for name, value in each.items() if name != "status"} for each in line])
        for line in lines
    )


@pytest.mark.parametrize("lanes", [1, 2])
def test_the_log_of_staging_is_that_of_production(tmp_path: Path, lanes: int):
    """Every request with its line, headers, length and body, each connection's in their order, and none besides."""
    near, far = tmp_path / "near", tmp_path / "far"
    near.mkdir()
    far.mkdir()
    (tmp_path / "ask.lua").write_text(SCRIPT)
    with (
        pair("10.9.0.1/24", "10.9.0.2/24") as (there, here),
        nginx(tmp_path / "production", there, 8080) as production,
        nginx(tmp_path / "staging", here, 8080) as staging,
    ):
        said = (far / "said").open("w+")
        receiver = here.popen(
            [str(COMMAND), "receive", "--listen", f"{here.address}:{LISTEN}", "--open-to-all", "--to", staging.url,
             "--strict", "--ledger", "ledger.json", "--set", "output.0.host=captured"],
            cwd=far, env=os.environ | {"TMPDIR": str(far)}, stdin=subprocess.DEVNULL, stderr=said,
        )  # fmt: skip
        try:
            wait_until(lambda: "listening on" in (far / "said").read_text(), "the receiver listens")
            sending = f'type = "tcp"\naddress = "{here.address}:{LISTEN}"\npolicy = "block"'
            source = f'interfaces = ["lo"]\nports = [{production.port}]\nlanes = {lanes}'
            with mirroring(near, source, sending, where=there) as mirror:
                there.run(["wrk", "-t1", f"-c{CONNECTIONS}", "-d3s", "-s", str(tmp_path / "ask.lua"), production.url])
                until(mirror, lambda: len(staging.log()) >= len(production.log()), "all requests in staging")
                assert mirror.stop() == 0
            receiver.terminate()  # of `ip netns exec`, which becomes the command
            assert receiver.wait(LIMIT_S) == 0, (far / "said").read_text()
        finally:
            said.close()
            if receiver.poll() is None:
                receiver.kill()
                receiver.wait()
        asked, got = production.by_connection(), staging.by_connection()
    assert sum(map(len, asked)) > 1000
    assert len(asked) == CONNECTIONS
    assert anonymous(got) == anonymous(asked)
    ledger = json.loads((far / "ledger.json").read_text())
    assert (ledger["closed"], ledger["loss"]) == (True, {})
