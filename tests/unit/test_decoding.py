"""Types that are read for the first time by several threads at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

READ = """
import sys, threading, types
import msgspec
from inferq.client import connection
from shared.schemas import decoding

sys.setswitchinterval(1e-6)
source = "from __future__ import annotations\\n" + "".join(
    f"class C{i}(msgspec.Struct):\\n  a: C{i + 1} | None = None\\n  b: int = 0\\n" for i in range(12)
) + "class C12(msgspec.Struct):\\n  x: int = 0\\n"
for number in range(100):
    module = sys.modules[f"m{number}"] = types.ModuleType(f"m{number}")
    module.msgspec = msgspec
    exec(source, module.__dict__)
    begin = threading.Barrier(4)

    def read():
        begin.wait()
        assert READING.a.a.b == 1

    threads = [threading.Thread(target=read) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
"""


@pytest.mark.parametrize(
    "reading",
    [
        """connection.read_text(module.C0, b'{"a": {"a": {"b": 1}}}')""",
        """decoding.convert(module.C0, {"a": {"a": {"b": 1}}})""",
    ],
    ids=["an answer of the client", "plain data"],
)
def test_threads_that_read_a_type_for_the_first_time_at_once_do_not_crash(reading: str) -> None:
    # In a process of its own, which msgspec ends by a segmentation fault if it is asked by several threads.
    code = READ.replace("READING", reading)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
