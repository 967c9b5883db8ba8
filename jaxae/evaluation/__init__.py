"""How good a model is: errors, probes, baselines, a summary, figures; and what it can draw.

`summarize` sets a model beside PCA, the mean and the raw input. Codes with a prior: `elbo`, `nll`,
`bits_per_dim`, `unit_usage`, `two_sample_test`, `mig`, `dci`, `sap`, `frechet_distance`, and
`diagnose`, which warns. Draws: `model.sample`, `reconstruct` (with a key: drawn), `interpolate`,
`traverse`, `manifold_grid`; deterministic models have `markov_chain` (denoising) and
`tangent_walk` (contractive). `to_bits` and `hamming_search` find neighbours by hashes.

>>> import functools, jax, jaxae, optax
>>> binary = {"x": (jaxae.load("digits", "train")["x"] > 0.5).astype("float32")}
>>> model = jaxae.vae((8, 8, 1), 8, hidden_dims=(64,))  # Bernoulli entries, standard normal prior
>>> learner = jaxae.gradient(model.loss, optax.adam(3e-3))
>>> state, key = jaxae.start(model, learner, binary, jax.random.key(0))
>>> fit = jax.jit(functools.partial(jaxae.fit, learner, epochs=20, batch_size=64))
>>> params = fit(state, binary, key)[0].params
>>> model.sample(params, key, 20).shape
(20, 8, 8, 1)
>>> nats = nll(model, samples=100)(params, key, binary)  # -log p(x) of each row
>>> bool(0.2 < bits_per_dim(nats.mean(), 64) < 0.6)
True
>>> interpolate(model, params, {"x": binary["x"][:3]}, {"x": binary["x"][3:6]}, 8).shape
(3, 8, 8, 8, 1)
"""

from jaxae.base import map_batches as map_batches
from jaxae.evaluation.anomaly_plots import ranked_examples as ranked_examples
from jaxae.evaluation.anomaly_plots import score_histogram as score_histogram
from jaxae.evaluation.baselines import mean_baseline as mean_baseline
from jaxae.evaluation.baselines import pca_baseline as pca_baseline
from jaxae.evaluation.baselines import principal_angles as principal_angles
from jaxae.evaluation.boltzmann import PartitionEstimate as PartitionEstimate
from jaxae.evaluation.boltzmann import annealed_importance_sampling as annealed_importance_sampling
from jaxae.evaluation.boltzmann import log_likelihood as log_likelihood
from jaxae.evaluation.boltzmann import log_partition as log_partition
from jaxae.evaluation.boltzmann import pseudo_log_likelihood as pseudo_log_likelihood
from jaxae.evaluation.boltzmann_plots import fantasies as fantasies
from jaxae.evaluation.boltzmann_plots import fantasy_grid as fantasy_grid
from jaxae.evaluation.classification import accuracy as accuracy
from jaxae.evaluation.classification import accuracy_interval as accuracy_interval
from jaxae.evaluation.contraction import contraction_ratio as contraction_ratio
from jaxae.evaluation.contraction import jacobians as jacobians
from jaxae.evaluation.contraction import mean_jacobian_norm as mean_jacobian_norm
from jaxae.evaluation.contraction import saturation as saturation
from jaxae.evaluation.contraction import singular_values as singular_values
from jaxae.evaluation.contraction_plots import contraction_curve as contraction_curve
from jaxae.evaluation.contraction_plots import direction_images as direction_images
from jaxae.evaluation.contraction_plots import directions as directions
from jaxae.evaluation.contraction_plots import singular_spectrum as singular_spectrum
from jaxae.evaluation.convolution_plots import convolution_filters as convolution_filters
from jaxae.evaluation.convolution_plots import exciting_patches as exciting_patches
from jaxae.evaluation.convolution_plots import feature_maps as feature_maps
from jaxae.evaluation.convolution_plots import maps_by_layer as maps_by_layer
from jaxae.evaluation.convolution_plots import top_patches as top_patches
from jaxae.evaluation.detection import forest_scores as forest_scores
from jaxae.evaluation.detection import pca_scores as pca_scores
from jaxae.evaluation.detection import ranking_metrics as ranking_metrics
from jaxae.evaluation.dictionaries import mean_max_cosine as mean_max_cosine
from jaxae.evaluation.dictionaries import top_examples as top_examples
from jaxae.evaluation.disentanglement import DCI as DCI
from jaxae.evaluation.disentanglement import dci as dci
from jaxae.evaluation.disentanglement import dci_scores as dci_scores
from jaxae.evaluation.disentanglement import discretise as discretise
from jaxae.evaluation.disentanglement import mig as mig
from jaxae.evaluation.disentanglement import mutual_information as mutual_information
from jaxae.evaluation.disentanglement import sap as sap
from jaxae.evaluation.doctor import diagnose as diagnose
from jaxae.evaluation.findings import codebook_usage as codebook_usage
from jaxae.evaluation.findings import grey_floor as grey_floor
from jaxae.evaluation.frechet import frechet_distance as frechet_distance
from jaxae.evaluation.frechet import gaussian_frechet_distance as gaussian_frechet_distance
from jaxae.evaluation.frechet import pca_features as pca_features
from jaxae.evaluation.generation import code_quantiles as code_quantiles
from jaxae.evaluation.generation import grid_values as grid_values
from jaxae.evaluation.generation import interpolate as interpolate
from jaxae.evaluation.generation import manifold_grid as manifold_grid
from jaxae.evaluation.generation import reconstruct as reconstruct
from jaxae.evaluation.generation import traverse as traverse
from jaxae.evaluation.generation_plots import chain as chain
from jaxae.evaluation.generation_plots import draws as draws
from jaxae.evaluation.generation_plots import interpolations as interpolations
from jaxae.evaluation.generation_plots import manifold as manifold
from jaxae.evaluation.generation_plots import samples as samples
from jaxae.evaluation.generation_plots import traversals as traversals
from jaxae.evaluation.hashing import euclidean_search as euclidean_search
from jaxae.evaluation.hashing import gini_purity as gini_purity
from jaxae.evaluation.hashing import hamming_distances as hamming_distances
from jaxae.evaluation.hashing import hamming_search as hamming_search
from jaxae.evaluation.hashing import pca_sign_hash as pca_sign_hash
from jaxae.evaluation.hashing import precision_at_k as precision_at_k
from jaxae.evaluation.hashing import random_hyperplane_hash as random_hyperplane_hash
from jaxae.evaluation.hashing import to_bits as to_bits
from jaxae.evaluation.latent import aggregate_posterior as aggregate_posterior
from jaxae.evaluation.latent import bits_per_dim as bits_per_dim
from jaxae.evaluation.latent import elbo as elbo
from jaxae.evaluation.latent import nll as nll
from jaxae.evaluation.latent import unit_usage as unit_usage
from jaxae.evaluation.metrics import codes as codes
from jaxae.evaluation.metrics import mean_interval as mean_interval
from jaxae.evaluation.metrics import reconstruction as reconstruction
from jaxae.evaluation.metrics import squared_error as squared_error
from jaxae.evaluation.metrics import validation as validation
from jaxae.evaluation.paths import lerp as lerp
from jaxae.evaluation.paths import slerp as slerp
from jaxae.evaluation.plots import codes_2d as codes_2d
from jaxae.evaluation.plots import curves as curves
from jaxae.evaluation.plots import filters as filters
from jaxae.evaluation.plots import image_rows as image_rows
from jaxae.evaluation.probes import knn_probe as knn_probe
from jaxae.evaluation.probes import linear_probe as linear_probe
from jaxae.evaluation.ranking import mae as mae
from jaxae.evaluation.ranking import ndcg_at_k as ndcg_at_k
from jaxae.evaluation.ranking import recall_at_k as recall_at_k
from jaxae.evaluation.ranking import rmse as rmse
from jaxae.evaluation.rate_distortion import rate_distortion as rate_distortion
from jaxae.evaluation.ratings_baselines import biased_means as biased_means
from jaxae.evaluation.ratings_baselines import ease as ease
from jaxae.evaluation.ratings_baselines import ease_weights as ease_weights
from jaxae.evaluation.ratings_baselines import factorise as factorise
from jaxae.evaluation.ratings_baselines import global_mean as global_mean
from jaxae.evaluation.sparse_plots import density_histogram as density_histogram
from jaxae.evaluation.sparse_plots import pareto as pareto
from jaxae.evaluation.sparse_plots import top_inputs as top_inputs
from jaxae.evaluation.sparsity import firing_density as firing_density
from jaxae.evaluation.sparsity import sparsity as sparsity
from jaxae.evaluation.summary import format_table as format_table
from jaxae.evaluation.summary import summarize as summarize
from jaxae.evaluation.sweep_plots import filter_rows as filter_rows
from jaxae.evaluation.sweep_plots import member_curves as member_curves
from jaxae.evaluation.sweep_plots import response as response
from jaxae.evaluation.table_errors import column_errors as column_errors
from jaxae.evaluation.table_errors import hidden_error as hidden_error
from jaxae.evaluation.table_errors import mean_or_mode as mean_or_mode
from jaxae.evaluation.two_sample import TwoSampleTest as TwoSampleTest
from jaxae.evaluation.two_sample import two_sample_test as two_sample_test
from jaxae.evaluation.walks import markov_chain as markov_chain
from jaxae.evaluation.walks import tangent_walk as tangent_walk
from jaxae.evaluation.walks import walkback_corruption as walkback_corruption
