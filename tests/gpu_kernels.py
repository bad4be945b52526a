"""Which operations of a traced function TensorFlow could not compute on a GPU.

Kernels for GPUs are registered in every build of TensorFlow, so that this can be asked anywhere.
"""

import tensorflow as tf
from tensorflow.python.framework import kernels

# Operations that are computed where TensorFlow runs the function itself, wherever its data are.
_OF_THE_RUNTIME = {
    "Placeholder": "an argument of the function",
    "StatefulPartitionedCall": "a call of a function, whose operations are looked at by themselves",
    "PartitionedCall": "the same",
    "While": "a loop over such functions; its condition is one number",
    "StatelessWhile": "the same",
    "If": "a choice between such functions",
    "StatelessIf": "the same",
    "IteratorGetNext": "takes the next batch from the input pipeline, which runs on CPUs",
    "Assert": "checks on the CPU what a shape or a flag is",
}
_PYTHON = {"PyFunc", "EagerPyFunc", "PyFuncStateless"}


def ops_without_gpu_kernel(function: tf.types.experimental.ConcreteFunction) -> list[str]:
    """Returns descriptions of the operations that no GPU computes, sorted; Python's among them."""
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for inner in graph.library.function for node in inner.node_def)]
    return sorted({_described(node) for node in nodes if not _has_kernel(node)})


def _has_kernel(node) -> bool:
    if node.op in _OF_THE_RUNTIME or _is_message(node):
        return True
    return node.op not in _PYTHON and any(
        kernel.device_type in ("GPU", "DEFAULT") and _allows(kernel, node)
        for kernel in kernels.get_registered_kernels_for_op(node.op).kernel
    )


def _is_message(node) -> bool:
    """Whether it is a text that an assertion shows on the CPU."""
    return node.op == "Const" and node.attr["dtype"].type == tf.string.as_datatype_enum


def _allows(kernel, node) -> bool:
    return all(
        node.attr[constraint.name].type in constraint.allowed_values.list.type
        for constraint in kernel.constraint
        if constraint.name in node.attr and node.attr[constraint.name].type
    )


def _described(node) -> str:
    types = [
        f"{name}={tf.as_dtype(value.type).name}"
        for name, value in sorted(node.attr.items())
        if value.type and not name.startswith("_")
    ]
    return f"{node.op}({', '.join(types)})"
