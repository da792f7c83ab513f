"""What Lanai seals to a gateway, as the media types that name it (RFC 9458, section 4.6).

One for each method: a message made for one of them does not open as the other.
"""

from typing import Final

__all__ = ["EXCHANGE", "FETCH"]

EXCHANGE: Final = "message/lanai-v1alpha-exchange"
FETCH: Final = "message/lanai-v1alpha-fetch"
