"""Many conversations at once on one device: schedule, run, postprocess.

`scheduler` decides and touches no tensor, `runner` computes and decides nothing, `engine` is the loop between them.
"""
