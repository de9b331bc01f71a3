"""Counts the messages of a capture with the iterator, in one process: python -m scripts.benchmark.library FILE PORT."""

import sys

import assemble

print(sum(1 for _ in assemble.messages(sys.argv[1], ports=[int(sys.argv[2])])))
