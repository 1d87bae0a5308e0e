"""Questions written by hand, over databases that no grammar domain resembles."""

from services.synthesis.handwritten.loader import load_handwritten

__all__ = ["load_handwritten"]
