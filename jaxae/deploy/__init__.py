"""What is made of a trained model: anomaly scores, filled tables, recommendations, files.

Scores and thresholds: `anomaly_scores`, `feature_scores`, `fit_code_density` (scores by the
density of codes, which often finds more), `threshold`, `conformal_p_values`, `discoveries`.
Tables (extra "tables"): `impute`, `impute_draws`, `cell_scores`, `name_cells`. Ratings:
`predict_ratings`, `recommend`, for users known or new. Files: `compress`, `decompress`.

>>> import functools, jax, jaxae, optax, pandas as pd
>>> from sklearn.datasets import load_wine
>>> frame = pd.DataFrame(load_wine(as_frame=True).frame).astype({"target": "category"})
>>> holes, _ = jaxae.hide_cells(frame, 0.2)
>>> columns = jaxae.fit_columns(holes)  # kinds, scales, categories; columns.to_json() keeps them
>>> model = jaxae.table(columns, 8, hidden_dims=(64,))
>>> learner, batch = jaxae.gradient(model.loss, optax.adam(3e-3)), columns.encode(holes)
>>> state, key = jaxae.start(model, learner, batch, jax.random.key(0))
>>> fit = jax.jit(functools.partial(jaxae.fit, learner, epochs=20, batch_size=32))
>>> params = fit(state, batch, key)[0].params
>>> int(jaxae.impute(model, params, holes, columns).isna().sum().sum())
0
>>> suspects = jaxae.name_cells(jaxae.cell_scores(model, params, frame, columns), 5)
>>> len(suspects)
5
>>> scores = jaxae.anomaly_scores(model)(params, key, columns.encode(frame))  # higher is stranger
>>> jaxae.conformal_p_values(scores[:90], scores[90:]).shape  # of rows that are like the first
(88,)
"""
