"""An audit of networks that exist: from a few words on the command line, or from modules in memory
(``kdpipe.measure``), to an ordinary study.

Imports every room but the command line, which alone imports it.
"""
