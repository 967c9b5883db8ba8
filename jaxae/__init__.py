"""jaxae: autoencoders as compositions of pure functions, in JAX."""

from jaxae.base import Autoencoder as Autoencoder
from jaxae.base import Learner as Learner
from jaxae.base import as_float as as_float
from jaxae.models import codes as codes
from jaxae.models import corruptions as corruptions
from jaxae.models import likelihoods as likelihoods
from jaxae.models import networks as networks
from jaxae.models import penalties as penalties
from jaxae.models.composition import autoencoder as autoencoder
from jaxae.models.networks import MLP as MLP
from jaxae.models.networks import mlp as mlp
from jaxae.models.variants import deep as deep
from jaxae.models.variants import denoising as denoising
from jaxae.models.variants import linear as linear
from jaxae.models.variants import overcomplete as overcomplete
from jaxae.models.variants import tied as tied
from jaxae.models.variants import undercomplete as undercomplete
from jaxae.training.fitting import fit as fit
from jaxae.training.fitting import over_arrays as over_arrays
from jaxae.training.fitting import over_batches as over_batches
from jaxae.training.fitting import stream as stream
from jaxae.training.learners import gradient as gradient
from jaxae.training.runs import DivergenceError as DivergenceError
from jaxae.training.runs import Run as Run
from jaxae.training.runs import run as run
