"""Settings that all tests share: the hypothesis profiles.

`fast` is the default; RINGTAP_HYPOTHESIS=deep looks much longer.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("fast", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("deep", max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("RINGTAP_HYPOTHESIS", "fast"))
