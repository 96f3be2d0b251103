"""Names and choices of a user: registries, the settings they take, and the options of the command line.

A `Registry` finds an entry among the built-in ones, the entry points of installed packages, and the functions that a
user names as `package.module:function`, which run only with a permission (`permission.py`). A `Setting` is a value to
choose with its default, meaning and range. An `option` is a field of a dataclass from which the command line makes an
option.
"""

from trustcache.registry.entries import Registry
from trustcache.registry.options import REQUIRED, Setting, check_options, key_values, option, option_name

__all__ = ["REQUIRED", "Registry", "Setting", "check_options", "key_values", "option", "option_name"]
