"""An audit of networks that exist: from a few words on the command line to an ordinary study.

Imports every room but the command line, which alone imports it.
"""
