"""What a model costs before it is paid: one trace on tensors without contents, one record, all reports from it.

tracing/ runs a step and writes it down, flops/ and workspaces/ say what its operations compute and take, size.py sums
up; timing/ says how long, planning/ what fits where, walk/ shows one batch, published/ sets printed tables right.
"""
