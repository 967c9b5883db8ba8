"""What a traced encoder is made of: affine layers, what lies between them, and what they cost.

An encoder is any function. Its trace tells whether x enters through one affine layer, and
whether it is a chain of affine layers and elementwise functions; exact Jacobian norms are then
many times cheaper (`jaxae.models.jacobians`).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, jaxprs_in_params

from jaxae.base import Array

_RESHAPING = {"reshape", "squeeze", "expand_dims", "copy", "broadcast_in_dim", "transpose"}
_ELEMENTWISE = {
    *("add", "sub", "mul", "div", "neg", "max", "min", "pow", "integer_pow", "square", "sqrt"),
    *("rsqrt", "cbrt", "exp", "exp2", "expm1", "log", "log1p", "logistic", "tanh", "sin", "cos"),
    *("tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "erf", "erfc"),
    *("erf_inv", "abs", "sign", "floor", "ceil", "round", "select_n", "clamp", "nextafter"),
    *("gt", "ge", "lt", "le", "eq", "ne", "and", "or", "not", "is_finite", "add_any", "copy_p"),
    *("convert_element_type", "stop_gradient", "one_minus_square", "atan2", "rem"),
}


class NoStructureError(Exception):
    """The encoder is not of the form that was looked for."""


class Layer(NamedTuple):
    """An affine layer of a chain, for one example.

    Attributes:
        slope: the derivative of what enters the layer by what the layer before gave,
            `(inputs,)`; None where x itself enters, reshaped at most.
        kernel: `(inputs, outputs)`.
    """

    slope: Any
    kernel: Array


class Chain(NamedTuple):
    """Affine layers with elementwise functions between them and after the last.

    Attributes:
        layers: from x on.
        slope: of the code by what the last layer gave, `(latent_dim,)`.
    """

    layers: tuple[Layer, ...]
    slope: Array


class _Varying(NamedTuple):
    """A value that depends on x: entry by entry on what the last of `layers` gave."""

    value: Any
    slope: Any
    layers: tuple[Layer, ...]


class _Input(NamedTuple):
    """x, reshaped."""

    value: Any


Rule = Callable[[JaxprEqn, list[Any]], list[Any]]


def chain(closed: ClosedJaxpr, args: Sequence[Any]) -> Chain:
    """The chain of a traced encoder at `args`, of which the last is x of one example.

    Raises:
        NoStructureError: it is none.
    """
    x = args[-1]
    (z,) = _evaluate(closed, [*args[:-1], _Varying(x, None, ())], _chain_rule)
    if not isinstance(z, _Varying) or not z.layers:
        raise NoStructureError("The code does not depend on x through an affine layer.")
    return Chain(z.layers, _slope(z).reshape(-1))


def after_first_layer(
    closed: ClosedJaxpr, args: Sequence[Any]
) -> tuple[Array, Array, Callable[[Array], Array]]:
    """The first affine layer's kernel, what it gives at x, and the encoder from there on.

    Raises:
        NoStructureError: x, reshaped at most, does not enter through one affine layer alone.
    """
    found: dict[str, Array] = {}

    def rest(replacement: Array | None) -> Any:
        entered: list[JaxprEqn] = []

        def rule(eqn: JaxprEqn, values: list[Any]) -> list[Any]:
            if entered:
                raise NoStructureError("x enters twice.")
            plain = [v.value if isinstance(v, _Input) else v for v in values]
            if _keeps_order(eqn):
                return [_Input(v) for v in _bind(eqn, plain)]
            kernel = _kernel(eqn, [isinstance(v, _Input) for v in values], plain)
            entered.append(eqn)
            if replacement is not None:
                return [replacement]
            found.update(kernel=kernel, out=_bind(eqn, plain)[0])
            return [found["out"]]

        (z,) = _evaluate(closed, [*args[:-1], _Input(args[-1])], rule)
        if isinstance(z, _Input) or not entered:
            raise NoStructureError("x enters through no affine layer.")
        return z

    rest(None)
    return found["kernel"], found["out"], rest


def count(traced: ClosedJaxpr | Jaxpr) -> tuple[int, int]:
    """Multiply-adds (and other operations) of a trace, and the entries of all it computes.

    A loop of known length counts each turn, one of unknown length a single turn.
    """
    operations, entries = 0, 0
    for eqn in traced.eqns:
        inner = [count(body) for body in jaxprs_in_params(eqn.params)]
        size = sum(math.prod(_shape(v)) for v in eqn.outvars)
        times = eqn.params.get("length", 1) if eqn.primitive.name == "scan" else 1
        turns = [times * most for most in map(max, zip(*inner, strict=True))]
        added = turns or [size * _terms(eqn), size]
        operations, entries = operations + added[0], entries + added[1]
    return operations, entries


def _terms(eqn: JaxprEqn) -> int:
    """How many products are summed for each entry of the output."""
    if eqn.primitive.name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return math.prod(_shape(eqn.invars[0])[i] for i in contracted)
    if eqn.primitive.name == "conv_general_dilated":
        kernel, axes = _shape(eqn.invars[1]), eqn.params["dimension_numbers"].rhs_spec
        return math.prod(kernel) // kernel[axes[0]]
    return 1


def _evaluate(closed: ClosedJaxpr, args: Sequence[Any], rule: Rule) -> list[Any]:
    """Evaluates a trace; equations that a marked value enters are the rule's to evaluate."""
    jaxpr = closed.jaxpr
    names: list[Any] = [*jaxpr.constvars, *jaxpr.invars]
    env = dict(zip(names, [*closed.consts, *args], strict=True))

    def read(v: Any) -> Any:
        return v.val if isinstance(v, Literal) else env[v]

    for eqn in jaxpr.eqns:
        values = [read(v) for v in eqn.invars]
        if not any(isinstance(v, _Varying | _Input) for v in values):
            outs = _bind(eqn, values)
        elif eqn.primitive.name in ("jit", "pjit", "closed_call"):
            body = next(p for p in eqn.params.values() if isinstance(p, ClosedJaxpr))
            outs = _evaluate(body, values, rule)
        else:
            outs = rule(eqn, values)
        env.update(zip(eqn.outvars, outs, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _bind(eqn: JaxprEqn, values: list[Any]) -> list[Any]:
    with eqn.ctx.manager:
        outs = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(eqn.params))
    return list(outs) if eqn.primitive.multiple_results else [outs]


def _chain_rule(eqn: JaxprEqn, values: list[Any]) -> list[Any]:
    varying = [isinstance(v, _Varying) for v in values]
    plain = [v.value if isinstance(v, _Varying) else v for v in values]
    marked = [v for v in values if isinstance(v, _Varying)]
    first = marked[0]
    if any(v.layers is not first.layers for v in marked):
        raise NoStructureError("Layers run side by side.")
    if eqn.primitive.name == "dot_general":
        kernel = _kernel(eqn, varying, plain)
        slope = None if first.slope is None else _slope(first).reshape(-1)
        (out,) = _bind(eqn, plain)
        return [_Varying(out, jnp.ones_like(out), (*first.layers, Layer(slope, kernel)))]
    if first.slope is None and _keeps_order(eqn):
        return [_Varying(out, None, first.layers) for out in _bind(eqn, plain)]
    if not (_keeps_order(eqn) or (_elementwise(eqn) and _same_shape(eqn, varying))):
        raise NoStructureError(f"{eqn.primitive.name} is not elementwise.")

    def apply(*inputs: Any) -> list[Any]:
        filled = iter(inputs)
        return _bind(eqn, [next(filled) if v else p for v, p in zip(varying, plain, strict=True)])

    outs, slopes = jax.jvp(apply, [v.value for v in marked], [_slope(v) for v in marked])
    return [_Varying(o, s, first.layers) for o, s in zip(outs, slopes, strict=True)]


def _slope(v: _Varying) -> Any:
    return jnp.ones_like(v.value) if v.slope is None else v.slope


def _kernel(eqn: JaxprEqn, varying: list[bool], values: list[Any]) -> Array:
    """The kernel of `x @ kernel` for one row x, of real numbers."""
    if eqn.primitive.name != "dot_general" or varying != [True, False]:
        raise NoStructureError("Not an affine layer.")
    given = jax.tree.map(int, eqn.params["dimension_numbers"])
    one_row = given == (((1,), (0,)), ((), ())) and np.shape(values[0])[0] == 1
    if not one_row or jnp.iscomplexobj(values[1]):
        raise NoStructureError("A product of another form.")
    return values[1]


def _keeps_order(eqn: JaxprEqn) -> bool:
    """Whether the equation gives its one input's entries in their order."""
    if eqn.primitive.name == "convert_element_type":
        dtypes = [eqn.invars[0].aval.dtype, eqn.params["new_dtype"]]  # type: ignore[attr-defined]
        return all(jnp.issubdtype(dtype, jnp.floating) for dtype in dtypes)
    if eqn.primitive.name == "reshape":
        return len(eqn.invars) == 1 and eqn.params.get("dimensions") is None
    if eqn.primitive.name == "transpose":
        moved = [i for i in eqn.params["permutation"] if _shape(eqn.invars[0])[i] != 1]
        return moved == sorted(moved)
    if eqn.primitive.name not in _RESHAPING:
        return False
    before, after = ([n for n in _shape(v) if n != 1] for v in (eqn.invars[0], eqn.outvars[0]))
    return before == after


def _same_shape(eqn: JaxprEqn, varying: list[bool]) -> bool:
    shape = _shape(eqn.outvars[0])
    return all(_shape(v) == shape for v, on in zip(eqn.invars, varying, strict=True) if on)


def _shape(v: Any) -> tuple[int, ...]:
    return v.aval.shape


def _elementwise(eqn: JaxprEqn) -> bool:
    if eqn.primitive.name in ("custom_jvp_call", "jit", "pjit"):
        return all(_elementwise(e) for body in jaxprs_in_params(eqn.params) for e in body.eqns)
    if eqn.primitive.name == "broadcast_in_dim":
        return _shape(eqn.invars[0]) == ()
    return eqn.primitive.name in _ELEMENTWISE
