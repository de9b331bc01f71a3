"""What coverage-guided fuzzing calls: each target is a module whose `run` takes one input and raises on a finding.

In: any bytes; each target reads them as a program of its own.  Out: nothing, or an exception.  scripts/fuzz builds
the compiled modules with sanitizers and drives the targets; tests/test_fuzz_findings.py replays seeds and findings.
"""
