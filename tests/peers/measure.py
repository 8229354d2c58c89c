"""Runs a command and tells as JSON what the operating system accounts to it: CPU seconds, wall seconds, peak memory.

    measure.py COMMAND …             prints the account; what the command prints goes to standard error
    measure.py --to FILE COMMAND …   writes it to a file: the command's standard output is its own

SIGTERM is handed on to the command, and it is killed when this program is.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time

# prctl(2)
PR_SET_PDEATHSIG = 1


def end_with_parent():
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


words = sys.argv[1:]
target = None
if words[0] == "--to":
    target, words = words[1], words[2:]
started = time.monotonic()
child = subprocess.Popen(words, stdout=None if target else sys.stderr, preexec_fn=end_with_parent)
# Not by `child.send_signal`, which looks whether it has ended, and so takes its account away.
signal.signal(signal.SIGTERM, lambda *_: os.kill(child.pid, signal.SIGTERM))
_, status, usage = os.wait4(child.pid, 0)
wall = time.monotonic() - started
code = os.waitstatus_to_exitcode(status)
# Linux counts maxrss in KiB.
account = {"user": usage.ru_utime, "sys": usage.ru_stime, "wall": wall, "maxrss": usage.ru_maxrss * 1024, "code": code}
if target:
    with open(target, "w", encoding="utf-8") as file:
        json.dump(account, file)
else:
    print(json.dumps(account))
sys.exit(0 if code == 0 else 1)
