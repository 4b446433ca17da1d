"""Fun-Audio-Chat: speech in, text and speech codes out.

`reference` is the plain path, one request at a time, that golden data and the batched `engine` are checked against.
"""
