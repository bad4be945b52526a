"""The report: finished runs are read, summarised, drawn, and put on one page.

Nothing here imports TensorFlow.
"""
