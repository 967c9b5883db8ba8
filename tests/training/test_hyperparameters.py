"""Hyperparameters that a sweep may trace: each does what the same number does when it is fixed."""

import jax
import numpy as np
import optax
import pytest

import jaxae
from jaxae import corruptions, likelihoods, penalties, sparsity

D, LATENT, WIDE = 8, 4, 12
BATCH = {"x": jax.random.uniform(jax.random.key(0), (16, D)), "y": np.arange(16) % 2}
SGD = optax.sgd(0.5)


def descent(noise, l2, init, scale, rate, momentum, cost):
    model = jaxae.denoising(
        D,
        LATENT,
        noise_level=noise,
        penalties=[penalties.l2(l2)],
        kernel_init=lambda *a: init * jax.random.normal(*a),
        likelihood=likelihoods.gaussian(scale),
    )
    return model, jaxae.momentum_sgd(rate, momentum, weight_cost=cost)


def corruption(gaussian, salt, dropout):
    parts = (
        corruptions.gaussian(gaussian),
        corruptions.salt_and_pepper(salt),
        corruptions.dropout(dropout),
    )

    def corrupt(key, x):
        for i, part in enumerate(parts):
            x = part(jax.random.fold_in(key, i), x)
        return x

    return jaxae.overcomplete(D, WIDE, corrupt=corrupt), SGD


def contractive(weight, hessian, noise):
    weights = {"contractive_weight": weight, "hessian_weight": hessian, "noise_level": noise}
    return jaxae.higher_order_contractive(D, LATENT, **weights), SGD


def stochastic(weight, noise):
    model = jaxae.stochastic_contractive(D, LATENT, contractive_weight=weight, noise_level=noise)
    return model, SGD


def sparse(target, weight, decay):
    return jaxae.sparse(D, WIDE, sparsity_target=target, sparsity_weight=weight, decay=decay), SGD


def boltzmann(scale, target, weight):
    penalty = sparsity.kl_sparsity(target, weight)
    return jaxae.rbm(D, LATENT, kernel_scale=scale, penalties=[penalty]), SGD


def dictionary(coefficient, plain, rate, first):
    model = jaxae.relu_l1(D, WIDE, l1_coefficient=coefficient, penalties=[sparsity.l1(plain)])
    return model, jaxae.unit_norm(optax.adam(rate, b1=first))


def jump(weight, bandwidth, threshold, beta):
    parts = {"sparsity_weight": weight, "bandwidth": bandwidth, "threshold": threshold}
    return jaxae.jump_relu(D, WIDE, **parts, beta=beta), SGD


def winners(fraction):
    return jaxae.winner_take_all(D, WIDE, fraction=fraction), SGD


def top(aux_coefficient, dead_after):
    return jaxae.top_k(D, WIDE, k=2, aux_coefficient=aux_coefficient, dead_after=dead_after), SGD


def labelled(dropout, noise):
    model = jaxae.undercomplete(D, LATENT)
    return jaxae.classifier(model, 2, dropout=dropout, corrupt=corruptions.masking(noise)), SGD


DESCENT = {"noise": 0.3, "l2": 0.1, "init": 0.5, "scale": 0.7}
DESCENT |= {"rate": 0.1, "momentum": 0.5, "cost": 0.1}
CASES = [
    (descent, DESCENT),
    (corruption, {"gaussian": 0.3, "salt": 0.3, "dropout": 0.3}),
    (contractive, {"weight": 0.5, "hessian": 0.5, "noise": 0.5}),
    (stochastic, {"weight": 0.5, "noise": 0.3}),
    (sparse, {"target": 0.1, "weight": 0.5, "decay": 0.5}),
    (boltzmann, {"scale": 0.1, "target": 0.1, "weight": 0.5}),
    (dictionary, {"coefficient": 0.1, "plain": 0.1, "rate": 0.05, "first": 0.5}),
    (lambda l1: (jaxae.gated(D, WIDE, l1_coefficient=l1), SGD), {"l1": 0.1}),
    (jump, {"weight": 0.1, "bandwidth": 0.5, "threshold": 0.2, "beta": 0.5}),
    (winners, {"fraction": 0.25}),
    (top, {"aux_coefficient": 0.5, "dead_after": 1}),
    (labelled, {"dropout": 0.3, "noise": 0.3}),
]


@pytest.mark.parametrize(("build", "values"), CASES)
def test_traced_values_do_what_the_same_numbers_do_when_they_are_fixed(build, values):
    def train(values):
        model, tx = build(**values)
        learner = jaxae.gradient(model.loss, tx)
        state = learner.init(model.init(jax.random.key(1), BATCH), jax.random.key(2))

        def step(state, key):
            return learner.step(state, key, BATCH)

        state, metrics = jax.lax.scan(step, state, jax.random.split(jax.random.key(3), 3))
        return jax.tree.leaves((state.params, metrics["loss"]))

    both = jax.jit(lambda traced: (train(traced), train(values)))
    traced, fixed = both(values)
    for a, b in zip(traced, fixed, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * np.abs(b).max())
    for name, value in values.items():  # and each is heeded
        other = both({**values, name: value * 1.5 if value != 1 else 1000})[0]
        moved = max(np.abs(a - b).max() for a, b in zip(other, fixed, strict=True))
        assert moved > 1e-4, name
