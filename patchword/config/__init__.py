"""Everything that can be chosen, as typed settings. Nothing here imports torch: a wrong configuration is refused first."""

from patchword.config.core import Config, implements
from patchword.config.data import *  # noqa: F403
from patchword.config.errors import ConfigError, Problem, RunError, UserError, nearest, unknown
from patchword.config.files import json_schema, parse_yaml, read_file, to_json, to_yaml
from patchword.config.model import *  # noqa: F403
from patchword.config.overrides import override, parse_overrides
from patchword.config.parts import *  # noqa: F403
from patchword.config.run import *  # noqa: F403

__all__ = [name for name in globals() if name.endswith("Config")]
__all__ += ["ConfigError", "Problem", "RunError", "UserError", "implements", "json_schema", "nearest", "override"]
__all__ += ["parse_overrides", "parse_yaml", "read_file", "to_json", "to_yaml", "unknown"]
