"""What the SDK's tests share."""

from hypothesis import settings

settings.register_profile("dativo", deadline=None)  # machines are shared: a slow example is no defect
settings.load_profile("dativo")
