"""Load generators, measurements and replays: what `trade-engine bench` and `trade-engine replay` carry out.

Figures come back as plain values; options and printing are the command line's.  Load goes to this machine only.
"""
