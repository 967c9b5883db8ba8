"""How it is learned: learners, the loop, and runs.

`fit` trains on arrays, `stream` on batches; a `run` is the host's loop around either, with a
progress bar, `metrics.jsonl`, checkpoints, early stopping, and a resume that equals a training
that was never interrupted.

>>> import tempfile, jax, jaxae, optax
>>> key = jax.random.key(0)
>>> rows, validation = jaxae.split(jaxae.load("digits", "train"), 0.1)
>>> model = jaxae.denoising((8, 8, 1), 4, hidden_dims=(16,), noise_level=0.1)
>>> learner = jaxae.gradient(model.loss, optax.adam(2e-3))
>>> held_out = {"evaluate": jaxae.evaluation.validation(model, key), "validation": validation}
>>> advance = jaxae.over_arrays(learner, rows, key, batch_size=64, **held_out)
>>> state, _ = jaxae.start(model, learner, rows, key)
>>> options = {"examples": len(rows["x"]), "monitor": "validation_loss", "patience": 5}
>>> with tempfile.TemporaryDirectory() as folder:
...     result = jaxae.run(advance, state, f"{folder}/run", epochs=2, **options)
>>> result.stopped
'finished'
"""
