"""What is learned: the composition, its parts, and presets.

Every variant takes each of these by name, and `jaxae.autoencoder(encoder, decoder, ...)` puts
them around any Linen modules:

- `corrupt`, what the encoder sees in training: `corruptions.masking`, `gaussian`,
  `salt_and_pepper`, `dropout`, `hiding` (with the mask), or any `(key, x) -> x`.
- `likelihood`, p(x | out): `likelihoods.gaussian` (scale 1: squared error; a number, "shared" or
  "per_entry"), `bernoulli` (cross-entropy), `categorical` (softmax over the last axis),
  `discretised_logistic` (bytes; mixtures), `multinomial` (counts), `jaxae.per_column` (of each
  column its own).
- `code`, `h -> (z, rate)`: `codes.Deterministic`, `Rectified`, `TopK`, `KSparse`, `BatchTopK`,
  `WinnerTakeAll`, `Gated`, `JumpReLU`, `Gaussian`, `Binary`, `VectorQuantised`, `Logistic`,
  `Matched`, or a Linen module of your own.
- `prior`, of stochastic codes: `priors.Standard`, `Learned`, `Mixture`, `Layered` (two stochastic
  layers, by `jaxae.layered_prior`), `Categorical`, `Joint`.
- `beta`, the weight of the rate: a number or a schedule. `samples`: draws for each example.
  `bound`, how their costs join: `bounds.elbo`, `importance`.
- `penalties`, added to the loss: `penalties.l2`, `contractive`, `stochastic_contractive`,
  `higher_order_contractive`, `mmd`; `sparsity.kl_sparsity`, `l1`, `gate`, `aux_k`, `nested`; or any
  function of a `penalties.Forward`.
- `networks`: `jaxae.mlp`, `convolutional`, `recurrent`, `dictionary`, with their own options, such
  as `activation`, `decoder` ("mirrored" or "tied"), `kernel_init`, `dtype`, `strides`, `pooling`,
  `cell`, `teacher_forcing`, `pre_bias` (of a dictionary, such as `jaxae.geometric_median(x)`).

>>> import jax, jax.numpy as jnp, jaxae
>>> model = jaxae.vae(
...     (8, 8, 1), 4, networks=jaxae.convolutional, hidden_dims=(4,),
...     likelihood=jaxae.likelihoods.gaussian("shared"), corrupt=jaxae.corruptions.gaussian(0.1),
...     prior=jaxae.priors.Mixture(4, 3), penalties=[jaxae.penalties.l2(1e-4)],
... )
>>> batch = {"x": jnp.ones((2, 8, 8, 1))}
>>> model.encode(model.init(jax.random.key(0), batch), batch).shape
(2, 4)
"""
