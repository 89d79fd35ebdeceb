import logging
from typing import Final

log: Final[logging.Logger]
SOURCES: Final[tuple[str, str, str]]  # by the number of mioconv::Source
