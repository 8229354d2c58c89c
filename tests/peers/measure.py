"""Runs a command and prints what the operating system accounts to it, as JSON: CPU seconds, wall seconds, peak memory.

The command's own standard output goes to standard error, so that the account is all there is on standard output.
"""

import json
import os
import subprocess
import sys
import time

started = time.monotonic()
child = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
_, status, usage = os.wait4(child.pid, 0)
wall = time.monotonic() - started
code = os.waitstatus_to_exitcode(status)
# Linux counts maxrss in KiB.
account = {"user": usage.ru_utime, "sys": usage.ru_stime, "wall": wall, "maxrss": usage.ru_maxrss * 1024, "code": code}
print(json.dumps(account))
sys.exit(0 if code == 0 else 1)
