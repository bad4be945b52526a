"""The report: finished runs found on disk, their numbers summarised, drawn and put on one page.
Does not import TensorFlow.
"""
