"""The latency lab: networks measured side by side, honestly, on whatever runtimes a machine has.

subject    what is measured: a function of images, its weights, its counts
setting    how: batch, precision, threads, CUDA graph, transfers
runtimes   where: each makes something ready to be called out of a subject and a setting
rounds     the measuring itself: warm-up until stable, then in turns
verdict    what samples say: faster, slower, cannot tell
record     one line of the results store; store: the file that only grows
study      a published comparison as a command: records -> CSV, pictures, a paragraph, claims
"""
