"""What a model costs before it is paid: one trace on tensors without contents, one record, all reports from it.

trace.py writes down every operation and every block of memory (record.py), places.py says whose they are, flops.py what
they compute; rehearsal.py runs a step, size.py sums the record up.
"""
