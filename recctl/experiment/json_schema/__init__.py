"""The JSON Schema of configs: what editors check and complete while a config is written.

It says what `recctl.config.schema` and `recctl.experiment.config_checks` check, as far as JSON Schema can: it compares
a value with constants, but not with other values. What only `recctl config validate` finds are therefore the comparison
of two dates, environment variables of URLs, and the text of queries. A schema belongs to an installation: it lists the
models, metrics and strategies of plug-ins.
"""

from recctl.experiment.json_schema.document import config_json_schema, config_keys

__all__ = ["config_json_schema", "config_keys"]
