"""A running Compute images API for tests: `ComputeImages`, and the pytest fixture `compute_images`.

The package needs the standard library only, and does not import the service, which runs in a process of its own.
"""

from .client import ComputeImages, RecordedRequest
from .process import ServiceError

__all__ = ["ComputeImages", "RecordedRequest", "ServiceError"]
