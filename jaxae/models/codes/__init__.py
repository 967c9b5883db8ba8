"""Codes: Linen modules `h -> (z, rate)`, with `rate` in nats per example.

Beside the call, `draw(h)` gives a code and what that very code costs, log q(z | h) - log p(z);
`posterior(h)` the mean and scale of a Gaussian one; `sample_prior(key, n)` codes of the prior.
"""

from jaxae.models.codes.deterministic import Deterministic as Deterministic
from jaxae.models.codes.deterministic import Logistic as Logistic
from jaxae.models.codes.deterministic import Matched as Matched
from jaxae.models.codes.deterministic import Rectified as Rectified
from jaxae.models.codes.quantised import VectorQuantised as VectorQuantised
from jaxae.models.codes.sparse import BatchTopK as BatchTopK
from jaxae.models.codes.sparse import Gated as Gated
from jaxae.models.codes.sparse import JumpReLU as JumpReLU
from jaxae.models.codes.sparse import KSparse as KSparse
from jaxae.models.codes.sparse import TopK as TopK
from jaxae.models.codes.sparse import WinnerTakeAll as WinnerTakeAll
from jaxae.models.codes.stochastic import Binary as Binary
from jaxae.models.codes.stochastic import Gaussian as Gaussian
