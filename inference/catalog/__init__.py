"""Models by name: what there is to pull, what is installed, and moving from one to the other.

Trusts a catalog model only once its SHA-256 is that of the catalog; what comes from elsewhere is
recorded with the digest it had when it came. Refuses pickles and symbolic links. A pull installs a
whole model or leaves nothing.
"""

from inference.catalog.catalog import Catalog, superseded
from inference.catalog.entries import CatalogEntry
from inference.catalog.installed import InstalledModel
from inference.catalog.progress import Progress

__all__ = ["Catalog", "CatalogEntry", "InstalledModel", "Progress", "superseded"]
