"""Where the time of one call goes: by module of the network, by kind of operation, and against the machine's
peaks.

op         what is known of one operation of a runtime; the profile of a call
kinds      operation type -> kind, for each runtime; the kind and the module of what a runtime fused
modules    the tree of Flax modules with its times
onnxruntime, xla, tensorrt   profiles from the runtimes' own profilers
take       the profile of a subject on one of them
files      what the command writes; flame, page: its pictures
work       multiply-adds and bytes of a network's nodes; peaks, roofline: the machine, and networks on it
"""
