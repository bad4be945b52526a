"""Pictures of what goes into a task, what is asked and what a model answers.

They are for TensorBoard and the report.
"""
